//! What no policy decides, held against the baseline.

use super::baseline::{Baselines, Membership};
use super::classify::{self, Scene};
use super::judgement::{expected, verdict};
use super::kinds::{FindingKind, Holds};
use super::learnable::circumstances;
use super::rates::Rates;
use super::reasons;
use crate::identity::{Container, Session};
use norma_wire::pb::{Severity, Verdict, VerdictKind};
use std::sync::Arc;

/// The verdict of what no policy decides: of rules that hold for every container, and of what was learned.
pub(super) fn judged_by_baseline(
    baselines: &mut Baselines,
    rates: &mut Rates,
    container: &Arc<Container>,
    scene: &Scene<'_>,
) -> Verdict {
    let (cgroup, now) = (container.cgroup, scene.identified.observation.at);
    let kind = classify::standing(scene);
    let holds = kind.map_or(Holds::Novel, |kind| kind.row().holds);
    let mut circumstances = circumstances(scene.identified);
    // What a rule objects to is learned as little as what a policy does.
    circumstances.violation |= holds == Holds::Always || rates.is_tunnel(cgroup, scene.fact);
    let at = baselines.course().at(now);
    let membership = baselines.observe(container, scene.fact, circumstances, at);
    if !matches!(membership, Membership::Known | Membership::Approved)
        && let Some((domain, names)) = {
            let is_novel = matches!(membership, Membership::Novel(_) | Membership::Rejected(_));
            rates.ask(cgroup, scene.fact, is_novel, now)
        }
    {
        let near = baselines.expectation(container, scene.fact, circumstances.origin);
        return reasons::tunnel(container, scene.fact, &near, &domain, names);
    }
    let is_new = membership == Membership::Learned;
    match (membership, kind) {
        (Membership::Approved, _) => expected(),
        (Membership::Novel(near) | Membership::Rejected(near), _) => {
            reasons::finding(container, scene.fact, classify::novel(scene, &near), &near)
        }
        (membership, Some(kind)) if is_finding(holds, &membership, baselines, container) => {
            let near = baselines.expectation(container, scene.fact, circumstances.origin);
            reasons::finding(container, scene.fact, kind, &near)
        }
        (Membership::Learned | Membership::LearnedBefore, None)
            if is_unprecedented(baselines, container, scene, is_new) =>
        {
            let near = baselines.expectation(container, scene.fact, circumstances.origin);
            reasons::finding(container, scene.fact, FindingKind::NewShell, &near)
        }
        (Membership::Open { per_day }, _) => {
            let field = scene.fact.learned().field();
            match rates.count(cgroup, field, per_day, now) {
                Some(count) => {
                    let near = baselines.expectation(container, scene.fact, circumstances.origin);
                    reasons::burst(container, scene.fact, &near, count, per_day)
                }
                None => expected(),
            }
        }
        (Membership::Learned | Membership::LearnedBefore, _) => {
            verdict(VerdictKind::Learning, Severity::Info, 0, Vec::new())
        }
        (Membership::Known, _) => expected(),
    }
}

/// Whether an act of a kind with these terms is a finding although no norm calls it novel.
fn is_finding(holds: Holds, membership: &Membership, baselines: &Baselines, container: &Container) -> bool {
    match (holds, membership) {
        (Holds::Always, _) | (Holds::OpenField | Holds::FirstSeen, Membership::Open { .. }) => true,
        (Holds::FirstSeen, Membership::Learned) => !baselines.is_starting(container),
        _ => false,
    }
}

/// Whether the program that acts was watched for long enough to say that it starts no shell, and starts one now.
fn is_unprecedented(baselines: &Baselines, container: &Container, scene: &Scene<'_>, is_new: bool) -> bool {
    let fact = scene.fact.learned();
    classify::is_shell_from_elsewhere(&fact.view())
        && scene.identified.process.session == Session::Own
        && !baselines.is_starting(container)
        && baselines.is_unprecedented(container, &fact, is_new, classify::is_shell_from_elsewhere)
}
