//! What the container does that it never did, and the alert that each must raise.

use super::scene::{FORBIDDEN_ADDRESS, FORBIDDEN_PROGRAM, Scene};
use super::siem_view::SiemView;
use crate::terminal::{bold, heading};
use anyhow::{Result, bail};
use std::time::Duration;

/// From the act to the alert at the SIEM.
const ALERT_LIMIT: Duration = Duration::from_secs(30);
const ORDER_LIMIT: Duration = Duration::from_secs(20);

struct Act {
    what: String,
    /// For the shell of the workload.
    order: String,
    /// Words that the alert must have.
    alert: Vec<String>,
    /// What the act itself must come to, where the policy prevents it.
    prevented: Option<fn(i32) -> bool>,
}

fn acts(stranger: u16) -> Vec<Act> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    vec![
        Act {
            what: "it starts a program that it never ran: id".to_owned(),
            order: "id".to_owned(),
            alert: words(&["novel", "/usr/bin/id"]),
            prevented: None,
        },
        Act {
            what: "it reads a file that it never read: /etc/shadow".to_owned(),
            order: "cat /etc/shadow".to_owned(),
            alert: words(&["novel", "/etc/shadow"]),
            prevented: None,
        },
        Act {
            what: format!("it connects where it never connected: 127.0.0.1:{stranger}"),
            order: format!("(exec 4<>/dev/tcp/127.0.0.1/{stranger})"),
            alert: words(&["novel", &stranger.to_string()]),
            prevented: None,
        },
        Act {
            what: format!("it connects to an address that the policy denies: {FORBIDDEN_ADDRESS}"),
            order: format!("(exec 4<>/dev/tcp/{FORBIDDEN_ADDRESS}/{stranger})"),
            alert: words(&["violation", FORBIDDEN_ADDRESS]),
            prevented: Some(|status| status != 0),
        },
        Act {
            what: format!("it starts a program that the policy kills: {FORBIDDEN_PROGRAM}"),
            order: format!("{FORBIDDEN_PROGRAM} 1"),
            alert: words(&["violation", FORBIDDEN_PROGRAM]),
            prevented: Some(|status| status == 128 + 9),
        },
    ]
}

/// Performs each act and waits for its alert.
pub fn run(scene: &Scene) -> Result<()> {
    heading("4. The container drifts; below is what arrives at the SIEM");
    let mut view = SiemView::new(&scene.siem);
    let mut missing = Vec::new();
    for act in acts(scene.stranger.port()) {
        println!("\n   {}", bold(&format!("> {}", act.what)));
        view.skip_old();
        let status = scene.container.order_and_wait(&act.order, ORDER_LIMIT)?;
        if let Some(prevented) = act.prevented {
            if prevented(status) {
                println!("   the kernel prevented it (exit status {status} in the container)");
            } else {
                missing.push(format!(
                    "{}: it was not prevented (exit status {status})",
                    act.what
                ));
            }
        }
        if let Err(error) = view.show_until(&act.alert, ALERT_LIMIT) {
            norma_rig::interrupt::check()?;
            missing.push(format!("{}: {error:#}", act.what));
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        bail!("missing:\n  {}", missing.join("\n  "))
    }
}
