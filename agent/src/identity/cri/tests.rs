//! Against a stand-in for a runtime on a real socket.

use super::api::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use super::*;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Instant;
use tokio::net::UnixListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{BroadcastStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

const LIMIT: Duration = Duration::from_secs(10);

type Answer<T> = Result<Response<T>, Status>;

#[derive(Clone)]
struct Fake {
    containers: Arc<Mutex<Vec<api::Container>>>,
    /// Absent where events are not offered.
    events: Option<broadcast::Sender<api::ContainerEventResponse>>,
    asked: Arc<Mutex<u32>>,
}

macro_rules! unimplemented_calls {
    ($($name:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl RuntimeService for Fake {
            type GetContainerEventsStream =
                Pin<Box<dyn Stream<Item = Result<api::ContainerEventResponse, Status>> + Send>>;

            async fn version(&self, _: Request<api::VersionRequest>) -> Answer<api::VersionResponse> {
                Ok(Response::new(api::VersionResponse {
                    runtime_name: "fake".to_owned(),
                    ..Default::default()
                }))
            }

            async fn list_pod_sandbox(
                &self,
                _: Request<api::ListPodSandboxRequest>,
            ) -> Answer<api::ListPodSandboxResponse> {
                Ok(Response::new(api::ListPodSandboxResponse { items: vec![sandbox()] }))
            }

            async fn pod_sandbox_status(
                &self,
                _: Request<api::PodSandboxStatusRequest>,
            ) -> Answer<api::PodSandboxStatusResponse> {
                Ok(Response::new(api::PodSandboxStatusResponse::default()))
            }

            async fn list_containers(
                &self,
                _: Request<api::ListContainersRequest>,
            ) -> Answer<api::ListContainersResponse> {
                *self.asked.lock().unwrap() += 1;
                let containers = self.containers.lock().unwrap().clone();
                Ok(Response::new(api::ListContainersResponse { containers }))
            }

            async fn container_status(
                &self,
                request: Request<api::ContainerStatusRequest>,
            ) -> Answer<api::ContainerStatusResponse> {
                let id = request.into_inner().container_id;
                let containers = self.containers.lock().unwrap();
                let found = containers.iter().find(|container| container.id == id);
                let container = found.ok_or_else(|| Status::not_found("gone"))?;
                Ok(Response::new(api::ContainerStatusResponse {
                    status: Some(api::ContainerStatus {
                        id,
                        metadata: container.metadata.clone(),
                        image: container.image.clone(),
                        image_ref: container.image_ref.clone(),
                        ..Default::default()
                    }),
                    ..Default::default()
                }))
            }

            async fn get_container_events(
                &self,
                _: Request<api::GetEventsRequest>,
            ) -> Answer<Self::GetContainerEventsStream> {
                let events = self.events.as_ref().ok_or_else(|| Status::unimplemented("none"))?;
                let stream = BroadcastStream::new(events.subscribe());
                let stream = stream.map(|event| event.map_err(|_| Status::data_loss("too slow")));
                Ok(Response::new(Box::pin(stream)))
            }

            $(async fn $name(&self, _: Request<api::$request>) -> Answer<api::$response> {
                Err(Status::unimplemented("a stand-in"))
            })*
        }
    };
}

unimplemented_calls! {
    run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse;
    stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse;
    remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse;
    create_container(CreateContainerRequest) -> CreateContainerResponse;
    start_container(StartContainerRequest) -> StartContainerResponse;
    exec_sync(ExecSyncRequest) -> ExecSyncResponse;
}

fn sandbox() -> api::PodSandbox {
    api::PodSandbox {
        id: "pod".to_owned(),
        metadata: Some(api::PodSandboxMetadata {
            name: "web-0".to_owned(),
            namespace: "shop\nforged".to_owned(),
            ..Default::default()
        }),
        labels: [("big".to_owned(), "x".repeat(3 << 20))].into(),
        ..Default::default()
    }
}

fn container(id: &str) -> api::Container {
    api::Container {
        id: id.to_owned(),
        pod_sandbox_id: "pod".to_owned(),
        metadata: Some(api::ContainerMetadata {
            name: "app\u{1b}[31m".to_owned(),
            attempt: 1,
        }),
        image: Some(api::ImageSpec {
            image: "i".repeat(1 << 20),
            ..Default::default()
        }),
        image_ref: "reg/app@sha256:aa".to_owned(),
        state: api::ContainerState::ContainerRunning as i32,
        ..Default::default()
    }
}

fn fake(with_events: bool) -> Fake {
    Fake {
        containers: Arc::default(),
        events: with_events.then(|| broadcast::channel(16).0),
        asked: Arc::default(),
    }
}

impl Fake {
    fn add(&self, id: &str) {
        self.containers.lock().unwrap().push(container(id));
        if let Some(events) = &self.events {
            let event = api::ContainerEventResponse {
                container_id: id.to_owned(),
                ..Default::default()
            };
            events.send(event).unwrap();
        }
    }

    fn serve(&self, socket: &Path) -> JoinHandle<()> {
        std::fs::remove_file(socket).ok();
        let listener = UnixListener::bind(socket).unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(RuntimeServiceServer::new(self.clone()))
            .serve_with_incoming(UnixListenerStream::new(listener));
        tokio::spawn(async move { server.await.unwrap() })
    }

    fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }
}

fn follow(socket: PathBuf) -> View {
    start(
        &tokio::runtime::Handle::current(),
        Options {
            socket: Some(socket),
            workload_key: None,
        },
    )
}

async fn wait(view: &mut View, is_it: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let snapshot = view.snapshots.wait_for(|snapshot| is_it(snapshot));
    let snapshot = tokio::time::timeout(LIMIT, snapshot).await.unwrap().unwrap();
    Arc::clone(&snapshot)
}

fn knows(id: &'static str) -> impl Fn(&Snapshot) -> bool {
    move |snapshot| snapshot.live && snapshot.containers.contains_key(id)
}

#[tokio::test]
async fn hostile_texts_arrive_bounded_and_printable() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let mut view = follow(socket.clone());
    view.asked(LIMIT).await;
    assert!(!view.news().unwrap().live, "nobody is there yet");

    let fake = fake(false);
    fake.add("one");
    let _server = fake.serve(&socket);
    let snapshot = wait(&mut view, knows("one")).await;
    let one = &snapshot.containers["one"];
    assert_eq!(one.name, "app\\x1b[31m");
    assert_eq!(one.pod.namespace, "shop\\x0aforged");
    assert_eq!(one.image_digest, "sha256:aa");
    for text in [&one.image, &one.pod.labels["big"]] {
        assert!(text.len() < 2_000, "{}", text.len());
    }
}

#[tokio::test]
async fn what_a_dead_runtime_said_last_stays_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let first = fake(false);
    first.add("one");
    // On a runtime of its own, whose end closes its connections too.
    let place = socket.clone();
    let (started, is_started) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            first.serve(&place);
            started.send(()).unwrap();
            stopped.await.ok();
        });
    });
    is_started.recv().unwrap();
    let mut view = follow(socket.clone());
    wait(&mut view, knows("one")).await;
    stop.send(()).unwrap();
    tokio::task::spawn_blocking(|| thread.join().unwrap())
        .await
        .unwrap();
    let last = wait(&mut view, |snapshot| !snapshot.live).await;
    assert!(last.containers.contains_key("one"));

    let second = fake(false);
    second.add("two");
    let _server = second.serve(&socket);
    let now = wait(&mut view, knows("two")).await;
    assert!(!now.containers.contains_key("one"));
}

#[tokio::test]
async fn a_runtime_without_events_is_polled_and_asked_at_once_when_poked() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let fake = fake(false);
    let _server = fake.serve(&socket);
    let mut view = follow(socket);
    wait(&mut view, |snapshot| snapshot.live).await;
    fake.add("polled");
    wait(&mut view, knows("polled")).await;
    // Within a fraction of the time between polls, at least once in a few tries on a busy machine.
    let fastest = {
        let mut fastest = LIMIT;
        for id in ["a", "b", "c", "d"] {
            fake.add(id);
            let began = Instant::now();
            view.poke();
            wait(&mut view, knows(id)).await;
            fastest = fastest.min(began.elapsed());
        }
        fastest
    };
    assert!(fastest < Duration::from_millis(500), "{fastest:?}");
}

#[tokio::test]
async fn events_are_followed_where_they_are_offered() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let fake = fake(true);
    let _server = fake.serve(&socket);
    let mut view = follow(socket);
    wait(&mut view, |snapshot| snapshot.live).await;
    // Whoever polls finds it too; what proves the events is that polling becomes rare.
    while fake.events.as_ref().unwrap().receiver_count() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fake.add("one");
    wait(&mut view, knows("one")).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = fake.asked();
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert_eq!(fake.asked(), before, "it is not polled");
    fake.add("two");
    let began = Instant::now();
    wait(&mut view, knows("two")).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
