//! The checkpoints of a lineage as a tree, and what differs between two of them.

use super::table::{Cell, Table, cut, wrap};
use super::words::{age, moment, stage_tone, value_line};
use crate::domain::flow::ask::BranchView;
use crate::domain::flow::ids::BranchName;
use crate::domain::flow::record::{Artifact, Checkpoint};
use crate::domain::flow::status::{Approval, StageStatus};
use crate::domain::flow::tree::{Diff, Differs, Row};
use crate::domain::json::Json;
use crate::domain::time::Timestamp;
use crate::frontend::status::Look;
use crate::frontend::text::{Tone, bytes, one_line};

/// `told`: of these, all that is known stands below their line.
pub fn tree(
    rows: &[Row],
    told: &[Checkpoint],
    branches: &[BranchView],
    now: Timestamp,
    look: &Look,
) -> String {
    let mut table = Table::new(&["checkpoint", "status", "approval", "heads", "who", "age", "run"]);
    for row in rows {
        let prefix = if look.ascii { ascii(&row.prefix) } else { row.prefix.clone() };
        let approval = match (&row.replaced_by, row.approval) {
            (Some(_), _) => Cell::new("replaced", Tone::Quiet),
            (None, Approval::Pending) => Cell::new("pending", Tone::Waiting),
            (None, Approval::Approved) => Cell::new("approved", Tone::Good),
            (None, Approval::Rejected) => Cell::new("rejected", Tone::Bad),
        };
        let is_main = row.branch == BranchName::main();
        let branch = if is_main { String::new() } else { format!(" on {}", row.branch) };
        let heads: Vec<String> = row.heads.iter().map(ToString::to_string).collect();
        let made = match (&row.who, &row.edited_from) {
            (Some(who), Some(from)) => Some(format!("edited by {who} from {from}")),
            (Some(who), None) => Some(format!("made by {who}")),
            (None, _) => None,
        };
        let is_judged = row.approval != Approval::Pending;
        let judged = row.approved_by.as_ref().filter(|_| is_judged);
        let judged = judged.map(|who| format!("{} by {who}", row.approval));
        let replaced = row.replaced_by.as_ref().map(|by| format!("replaced by {by}"));
        // What came last comes first.
        let who: Vec<String> = [replaced, judged, made].into_iter().flatten().collect();
        let who = who.join("; ");
        let status = Cell::new(row.status.word(), stage_tone(row.status));
        table.row([
            format!("{prefix}{}{branch}", row.id).into(),
            status,
            approval,
            Cell::new(heads.join(", "), Tone::Good),
            who.into(),
            Cell::new(age(row.created_at, now), Tone::Quiet),
            row.run_id.as_str().into(),
        ]);
    }
    if rows.is_empty() {
        return "no stage has left anything yet\n".into();
    }
    let drawn = table.draw(look);
    let mut text = String::new();
    let mut lines = drawn.lines();
    text.extend(lines.next().map(|titles| format!("{titles}\n")));
    for (line, row) in lines.zip(rows) {
        text.extend([line, "\n"]);
        text.extend(told.iter().find(|one| one.id == row.id).map(|one| below(one, look)));
    }
    text + &super::show::branches(branches, look)
}

fn below(checkpoint: &Checkpoint, look: &Look) -> String {
    let mut facts = vec![
        format!("hash {}", checkpoint.hash.as_str()),
        format!("made {} by {}", moment(checkpoint.created_at), checkpoint.run_id),
    ];
    if let (Some(who), Some(from)) = (&checkpoint.created_by, &checkpoint.edited_from) {
        facts[1] = format!("edited {} by {who} from {from}", moment(checkpoint.created_at));
    }
    if let Some(who) = &checkpoint.approved_by {
        let when = checkpoint.approved_at.map(|at| format!("{} ", moment(at))).unwrap_or_default();
        facts.push(format!("{} {when}by {who}", checkpoint.approval));
    }
    facts.extend(checkpoint.note.as_ref().map(|note| format!("note: {note}")));
    facts.iter().map(|fact| wrap(fact, 5, look, 20)).collect()
}

fn ascii(prefix: &str) -> String {
    prefix.replace("├─", "|-").replace("└─", "`-").replace('│', "|")
}

/// A line for what was, and one for what is.
pub fn differences(diff: &Diff, look: &Look) -> String {
    let state = diff.state.iter().flat_map(|one| lines("state", one, &|value: &Json| value_line(value)));
    let artifacts = diff.artifacts.iter().flat_map(|one| lines("file", one, &describe));
    let mut text = String::new();
    for (line, tone) in state.chain(artifacts) {
        text.push_str(&tone.paint(&cut(&line, look.width, look.ascii), look.colour));
        text.push('\n');
    }
    if text.is_empty() { "nothing differs\n".into() } else { text }
}

fn describe(artifact: &Artifact) -> String {
    let executable = if artifact.executable { ", executable" } else { "" };
    let hash = artifact.hash.as_str();
    format!("{} {}{executable}", hash.get(..12).unwrap_or(hash), bytes(artifact.size))
}

fn lines<T>(kind: &str, one: &Differs<T>, told: &dyn Fn(&T) -> String) -> Vec<(String, Tone)> {
    let name = one_line(&one.name);
    let mut lines = Vec::new();
    if let Some(before) = &one.before {
        lines.push((format!("- {kind} {name}  {}", told(before)), Tone::Bad));
    }
    if let Some(after) = &one.after {
        lines.push((format!("+ {kind} {name}  {}", told(after)), Tone::Good));
    }
    lines
}

/// One row a file.
pub fn artifacts<'a>(
    stages: impl IntoIterator<Item = (&'a str, StageStatus, &'a [Artifact])>,
    look: &Look,
) -> String {
    let mut table = Table::new(&["stage", "name", "size", "hash"]);
    let mut any = false;
    for (stage, _, artifacts) in stages {
        for artifact in artifacts {
            any = true;
            let hash = artifact.hash.as_str();
            table.row([
                stage.into(),
                artifact.name.as_str().into(),
                bytes(artifact.size).into(),
                Cell::new(hash.get(..12).unwrap_or(hash), Tone::Quiet),
            ]);
        }
    }
    if any { table.draw(look) } else { "no files\n".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flow::ids::{CheckpointId, Hash, RunId};
    use crate::frontend::flow::fixture::at;

    const LOOK: Look = Look { width: 100, colour: false, ascii: false };

    fn row(prefix: &str, id: &str, approval: Approval) -> Row {
        Row {
            prefix: prefix.into(),
            depth: 0,
            id: CheckpointId::parse(id).unwrap(),
            status: StageStatus::Succeeded,
            approval,
            branch: BranchName::main(),
            heads: Vec::new(),
            run_id: RunId::trusted("video-12"),
            who: None,
            edited_from: None,
            approved_by: None,
            created_at: at(100),
            replaced_by: None,
        }
    }

    #[test]
    fn a_tree_tells_heads_and_hands() {
        let rows = [
            Row { approved_by: Some("ada".into()), ..row("", "script@1", Approval::Approved) },
            Row {
                heads: vec![BranchName::trusted("dark")],
                branch: BranchName::trusted("dark"),
                ..row("├─ ", "storyboard@1", Approval::Rejected)
            },
            Row {
                replaced_by: CheckpointId::parse("storyboard@3").ok(),
                ..row("├─ ", "storyboard@2", Approval::Pending)
            },
            Row {
                heads: vec![BranchName::main()],
                who: Some("ada".into()),
                edited_from: Some(CheckpointId::parse("storyboard@1").unwrap()),
                ..row("└─ ", "storyboard@2", Approval::Pending)
            },
        ];
        insta::assert_snapshot!(tree(&rows, &[], &[], at(3700), &LOOK), @r"
        checkpoint               status     approval  heads  who                         age        run
        script@1                 succeeded  approved         approved by ada             1h00m ago  video-12
        ├─ storyboard@1 on dark  succeeded  rejected  dark                               1h00m ago  video-12
        ├─ storyboard@2          succeeded  replaced         replaced by storyboard@3    1h00m ago  video-12
        └─ storyboard@2          succeeded  pending   main   edited by ada from storyb…  1h00m ago  video-12
        ");
    }

    #[test]
    fn all_that_is_known_of_one_stands_below_it() {
        let made = crate::domain::flow::testing::checkpoint("storyboard@2 edits=storyboard@1");
        let one = Checkpoint {
            hash: Hash::trusted("0123456789abcdef"),
            created_at: at(60),
            approved_by: Some("bob".into()),
            approved_at: Some(at(120)),
            note: Some("warm enough\u{9b}".into()),
            ..made
        };
        let row = Row {
            who: Some("ann".into()),
            edited_from: one.edited_from.clone(),
            approved_by: Some("bob".into()),
            ..row("", "storyboard@2", Approval::Approved)
        };
        insta::assert_snapshot!(tree(&[row], &[one], &[], at(3700), &LOOK), @r"
        checkpoint    status     approval  who                                           age        run
        storyboard@2  succeeded  approved  approved by bob; edited by ann from storybo…  1h00m ago  video-12
             hash 0123456789abcdef
             edited 1970-01-01 00:01:00Z by ann from storyboard@1
             approved 1970-01-01 00:02:00Z by bob
             note: warm enough
        ");
    }

    #[test]
    fn differences_are_told_in_pairs() {
        let artifact = |hash: &str| Artifact {
            name: "a.png".into(),
            hash: Hash::trusted(hash),
            size: 2048,
            executable: false,
        };
        let state = |before, after| Differs { name: "title".into(), before, after };
        let diff = Diff {
            state: vec![state(Some(Json::string("a")), Some(Json::string("b\u{9b}")))],
            artifacts: vec![Differs {
                name: "a.png".into(),
                before: None,
                after: Some(artifact("0123456789abcdef")),
            }],
        };
        insta::assert_snapshot!(differences(&diff, &LOOK), @r#"
        - state title  "a"
        + state title  "b "
        + file a.png  0123456789ab 2K
        "#);
        assert_eq!(differences(&Diff::default(), &LOOK), "nothing differs\n");
    }
}
