//! Ways in which a run goes, and ends.

use std::cell::Cell;
use std::path::PathBuf;

use linger_facts::Tunable;
use linger_tune::journal::Event;
use linger_tune::{
    Ended, Error, Journal, Namespace, NetnsMark, Phase, Settings, StepOutcome, StepState, Told, Tree, Undo,
    apply, begin, confirm, recover, roll_back,
};

use crate::support::{Look, OPTIONS, RANGE, REUSE, Scripted, TIMEOUT, change, go, key, log, namespace, plan};

struct Place {
    _folder: tempfile::TempDir,
    dir: PathBuf,
    settings: Namespace,
}

fn place() -> Option<Place> {
    let ns = namespace()?;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("tune");
    Some(Place { _folder: folder, dir, settings: Namespace::new(&ns).unwrap() })
}

impl Place {
    fn value(&self, name: &str) -> String {
        self.settings.read(key(name)).unwrap()
    }
}

#[test]
fn steps_that_pass_are_kept_confirmed_and_rolled_back() {
    let Some(it) = place() else { return };
    let plan = plan(vec![change(REUSE, "2", "1"), change(TIMEOUT, "60", "30")]);
    let applied = go(&plan, &it.dir, &it.settings, &OPTIONS, &mut Scripted::calm()).unwrap();
    assert_eq!((applied.ended, applied.why.as_str()), (Ended::Awaiting, ""));
    assert_eq!((it.value(REUSE), it.value(TIMEOUT)), ("1".into(), "30".into()));
    // Nothing else is begun meanwhile.
    let busy = go(&plan, &it.dir, &it.settings, &OPTIONS, &mut Scripted::calm()).unwrap_err().to_string();
    assert!(busy.contains("run 1 awaits confirmation"), "{busy}");

    let journal = Journal::open(&it.dir).unwrap();
    let lock = journal.lock(it.settings.netns(), std::time::Duration::ZERO).unwrap();
    confirm(&journal, &lock, log(&it.dir).run(1).unwrap()).unwrap();
    assert_eq!(log(&it.dir).run(1).unwrap().phase, Phase::Confirmed);
    assert!(
        confirm(&journal, &lock, log(&it.dir).run(1).unwrap()).unwrap_err().to_string().contains("already")
    );
    // Confirmed is not half done.
    assert_eq!(recover(&journal, &lock, Some(&it.settings), log(&it.dir).run(1).unwrap()).unwrap(), None);

    // The second step was changed by somebody else: it is left alone, and said.
    it.settings.write(key(TIMEOUT), "45").unwrap();
    let undone = roll_back(&journal, &lock, &it.settings, log(&it.dir).run(1).unwrap(), "test").unwrap();
    let outcomes: Vec<_> = undone.iter().map(|it| (it.number, it.outcome)).collect();
    assert_eq!(outcomes, [(2, Undo::Foreign), (1, Undo::Undone)]);
    assert!(undone[0].note.contains("45"), "{undone:?}");
    assert_eq!((it.value(REUSE), it.value(TIMEOUT)), ("2".into(), "45".into()));
}

#[test]
fn ctrl_c_a_lost_guardian_and_a_blind_watch_take_everything_back() {
    for (looks, why) in [
        (vec![Look::Nothing, Look::Ctrl], "interrupted"),
        (vec![Look::Nothing, Look::Unguarded], "the guardian is gone"),
        (vec![Look::Blind, Look::Blind, Look::Blind, Look::Blind], "blind"),
    ] {
        let Some(it) = place() else { return };
        let plan = plan(vec![change(REUSE, "2", "1"), change(TIMEOUT, "60", "30")]);
        let applied =
            go(&plan, &it.dir, &it.settings, &OPTIONS, &mut Scripted::after_baseline(looks)).unwrap();
        assert_eq!(applied.ended, Ended::RolledBack, "{why}: {applied:?}");
        assert!(applied.why.contains(why), "{why}: {applied:?}");
        assert_eq!((it.value(REUSE), it.value(TIMEOUT)), ("2".into(), "60".into()), "{why}");
        let log = log(&it.dir);
        assert_eq!(
            (log.runs[0].phase, log.runs[0].steps[0].state),
            (Phase::Closed, StepState::Undone),
            "{why}"
        );
    }
}

#[test]
fn a_step_that_does_harm_is_taken_back_and_those_before_it_stay() {
    let Some(it) = place() else { return };
    let plan = plan(vec![
        change(REUSE, "2", "1"),
        change(TIMEOUT, "60", "30"),
        change(RANGE, "32768 60999", "15000 64999"),
    ]);
    let mut attendant = Scripted::calm();
    // The first step is calm for all its looks; the second has a critical finding.
    let settings = &it.settings;
    attendant.looks.extend((0..2000).map(|_| {
        Look::Do(Box::new(move |sample: &mut linger_tune::Sample| {
            if settings.read(key(TIMEOUT)).unwrap() == "30" {
                sample.critical.insert("LQ001".into(), "drops".into());
            }
        }) as Box<dyn FnOnce(&mut linger_tune::Sample)>)
    }));
    let applied = go(&plan, &it.dir, &it.settings, &OPTIONS, &mut attendant).unwrap();
    let outcomes: Vec<_> = applied.steps.iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, [StepOutcome::Kept, StepOutcome::RolledBack, StepOutcome::NotMade], "{applied:?}");
    assert!(applied.why.contains("LQ001: drops"), "{applied:?}");
    assert_eq!(
        (it.value(REUSE), it.value(TIMEOUT), it.value(RANGE)),
        ("1".into(), "60".into(), "32768 60999".into())
    );
}

#[test]
fn a_step_without_effect_is_taken_back_where_that_was_asked_for() {
    let Some(it) = place() else { return };
    let mut step = change(REUSE, "2", "1");
    step.metric.within_s = 0.001;
    let options = linger_tune::Options { require_effect: true, ..OPTIONS };
    let applied = go(&plan(vec![step]), &it.dir, &it.settings, &options, &mut Scripted::calm()).unwrap();
    assert_eq!((applied.ended, applied.steps[0].outcome), (Ended::NothingKept, StepOutcome::RolledBack));
    assert!(applied.steps[0].note.contains("no effect seen"), "{applied:?}");
    assert_eq!(it.value(REUSE), "2");
}

#[test]
fn a_value_that_the_kernel_refuses_ends_the_run() {
    let Some(ns) = namespace() else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = Namespace::new(&ns).unwrap();
    // Below the ports that need a privilege, the kernel takes no range.
    linger_netns::run_in(&ns, || std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "20000"))
        .unwrap()
        .unwrap();
    let plan = plan(vec![
        change(REUSE, "2", "1"),
        change(RANGE, "32768 60999", "15000 64999"),
        change(TIMEOUT, "60", "30"),
    ]);
    let dir = folder.path().join("tune");
    let applied = go(&plan, &dir, &settings, &OPTIONS, &mut Scripted::calm()).unwrap();
    let outcomes: Vec<_> = applied.steps.iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, [StepOutcome::Kept, StepOutcome::Refused, StepOutcome::NotMade]);
    assert!(applied.why.contains("Invalid argument"), "{applied:?}");
    assert_eq!(settings.read(key(RANGE)).unwrap(), "32768 60999");
}

/// A folder in the kernel's place, which makes something else of a value.
struct Clamping(Tree, Cell<u32>);

impl Settings for Clamping {
    fn read(&self, key: &Tunable) -> Result<String, Error> {
        self.0.read(key)
    }
    fn write(&self, key: &Tunable, value: &str) -> Result<(), Error> {
        self.1.set(self.1.get() + 1);
        self.0.write(key, if value == "200000" { "150000" } else { value })
    }
    fn may_write(&self, key: &Tunable) -> Result<(), Error> {
        self.0.may_write(key)
    }
    fn netns(&self) -> NetnsMark {
        self.0.netns()
    }
    fn is_host(&self) -> bool {
        true
    }
}

#[test]
fn a_value_that_is_clamped_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("fs")).unwrap();
    std::fs::write(folder.path().join("fs/file-max"), "100000\n").unwrap();
    let settings = Clamping(Tree::new(folder.path()), Cell::new(0));
    let plan = plan(vec![change("fs.file-max", "100000", "200000")]);
    let applied = go(&plan, &folder.path().join("tune"), &settings, &OPTIONS, &mut Scripted::calm()).unwrap();
    assert_eq!((applied.ended, applied.steps[0].outcome), (Ended::NothingKept, StepOutcome::RolledBack));
    assert!(applied.why.contains("the kernel made 150000 of it"), "{applied:?}");
    assert_eq!(settings.read(key("fs.file-max")).unwrap(), "100000");
    assert_eq!(settings.1.get(), 2);
}

#[test]
fn a_concurrent_writer_wins() {
    // Before the step: nothing is written.
    let Some(it) = place() else { return };
    it.settings.write(key(TIMEOUT), "20").unwrap();
    let plan = plan(vec![change(TIMEOUT, "60", "30")]);
    let refused = go(&plan, &it.dir, &it.settings, &OPTIONS, &mut Scripted::calm()).unwrap_err().to_string();
    assert!(refused.contains("is 20, and was 60"), "{refused}");
    assert_eq!(log(&it.dir).runs, []);
    // During the watch: it is seen, and what the other wrote stays.
    it.settings.write(key(TIMEOUT), "60").unwrap();
    let settings = &it.settings;
    let other = Look::Do(Box::new(|_| settings.write(key(TIMEOUT), "25").unwrap()));
    let applied = go(&plan, &it.dir, &it.settings, &OPTIONS, &mut Scripted::after_baseline([other])).unwrap();
    assert_eq!(
        (applied.ended, applied.steps[0].outcome),
        (Ended::NothingKept, StepOutcome::Foreign),
        "{applied:?}"
    );
    assert_eq!(it.value(TIMEOUT), "25");
    // Before it is all taken back.
    it.settings.write(key(TIMEOUT), "60").unwrap();
    let other = Look::Do(Box::new(|_| settings.write(key(TIMEOUT), "26").unwrap()));
    let looks = [other, Look::Ctrl];
    let applied = go(&plan, &it.dir, &it.settings, &OPTIONS, &mut Scripted::after_baseline(looks)).unwrap();
    assert_eq!(applied.ended, Ended::RolledBack);
    assert_eq!(it.value(TIMEOUT), "26");
}

/// A writer that never stops, beside many runs: whatever comes of them, a value is one that somebody set.
#[test]
fn a_writer_that_never_stops_is_never_overruled() {
    let Some(it) = place() else { return };
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in ["60", "41", "42", "60"].iter().cycle() {
                if is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                it.settings.write(key(TIMEOUT), value).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(700));
            }
        });
        // On a loaded machine the writer may sleep through a whole run, and then the step stays.
        let options = linger_tune::Options { confirm_within: None, ..OPTIONS };
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..60 {
            let plan = plan(vec![change(TIMEOUT, "60", "30")]);
            if let Ok(applied) = go(&plan, &it.dir, &it.settings, &options, &mut Scripted::calm()) {
                seen.insert(format!("{:?}", applied.steps[0].outcome));
            }
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(seen.contains("Foreign") && !seen.contains("Stuck"), "{seen:?}");
    });
}

#[test]
fn what_cannot_be_applied_is_said_before_anything_is_done() {
    let Some(it) = place() else { return };
    let refused = |changes| {
        let refused = go(&plan(changes), &it.dir, &it.settings, &OPTIONS, &mut Scripted::calm());
        assert_eq!(log(&it.dir).runs, []);
        refused.unwrap_err().to_string()
    };
    let host = refused(vec![change(REUSE, "2", "1"), change("fs.file-max", "100000", "200000")]);
    assert!(host.contains("fs.file-max is the whole host's"), "{host}");
    it.settings.write(key("net.ipv4.tcp_timestamps"), "0").unwrap();
    let reuse = refused(vec![change(REUSE, "2", "1")]);
    assert!(reuse.contains("does nothing while net.ipv4.tcp_timestamps is 0"), "{reuse}");
    assert_eq!(it.value(REUSE), "2");
}

/// What was set at boot and is half taken back: the file goes, and no value is written after a reboot.
#[test]
fn what_is_set_at_boot_is_mended_after_a_reboot() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("fs")).unwrap();
    std::fs::create_dir(path("sysctl.d")).unwrap();
    std::fs::write(path("fs/file-max"), "100000\n").unwrap();
    let settings = Tree::new(folder.path());
    let journal = Journal::open(&path("tune")).unwrap();
    let lock = journal.lock(settings.netns(), std::time::Duration::ZERO).unwrap();
    let plan = plan(vec![change("fs.file-max", "100000", "200000")]);
    let mut follower = begin(&journal, &lock, &settings, Some(path("sysctl.d"))).unwrap();
    let run = follower.run().id;
    let options = linger_tune::Options { confirm_within: None, ..OPTIONS };
    apply(&plan, &mut follower, &journal, &lock, &settings, &options, &mut Scripted::calm());
    linger_tune::persist_confirmed(&journal, &lock, run).unwrap();
    let file = path("sysctl.d/99-linger.conf");
    assert!(std::fs::read_to_string(&file).unwrap().ends_with("fs.file-max = 200000\n"));
    // Killed after the first line of taking it back, and started again.
    journal.append(&lock, run, Event::TakingBack { why: "by the operator".into() }).unwrap();
    let lines = path("tune/journal.jsonl");
    let text = std::fs::read_to_string(&lines).unwrap();
    std::fs::write(&lines, text.replace(journal.boot(), "00000000-0000-0000-0000-000000000000")).unwrap();
    assert_eq!(log(&path("tune")).runs[0].phase, Phase::TakingBack);
    let (steps, what) =
        recover(&journal, &lock, Some(&settings), &log(&path("tune")).runs[0]).unwrap().unwrap();
    assert!(steps.is_empty() && !file.exists(), "{what}");
    assert_eq!(settings.read(key("fs.file-max")).unwrap(), "200000");
    assert_eq!(recover(&journal, &lock, Some(&settings), &log(&path("tune")).runs[0]).unwrap(), None);
}

#[test]
fn who_follows_a_run_can_take_it_back_without_its_journal() {
    let Some(it) = place() else { return };
    let journal = Journal::open(&it.dir).unwrap();
    let lock = journal.lock(it.settings.netns(), std::time::Duration::ZERO).unwrap();
    let plan = plan(vec![change(REUSE, "2", "1")]);
    let mut follower = begin(&journal, &lock, &it.settings, None).unwrap();
    let applied = apply(&plan, &mut follower, &journal, &lock, &it.settings, &OPTIONS, &mut Scripted::calm());
    assert_eq!((applied.ended, it.value(REUSE).as_str()), (Ended::Awaiting, "1"));
    // Before anybody has read what is in it.
    std::fs::remove_file(it.dir.join("journal.jsonl")).unwrap();
    assert_eq!(follower.look(&journal), Told::Lost);
    assert!(matches!(follower.run().phase, Phase::Awaiting(_)));
    let _ = roll_back(&journal, &lock, &it.settings, follower.run(), "the journal was taken away");
    assert_eq!(it.value(REUSE), "2");
}

#[test]
fn after_a_reboot_recover_writes_no_value() {
    let Some(it) = place() else { return };
    let applied =
        go(&plan(vec![change(REUSE, "2", "1")]), &it.dir, &it.settings, &OPTIONS, &mut Scripted::calm())
            .unwrap();
    assert_eq!(applied.ended, Ended::Awaiting);
    // As the journal is found in the next boot.
    let file = it.dir.join("journal.jsonl");
    let journal = Journal::open(&it.dir).unwrap();
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace(journal.boot(), "00000000-0000-0000-0000-000000000000");
    std::fs::write(&file, text).unwrap();
    let lock = journal.lock(it.settings.netns(), std::time::Duration::ZERO).unwrap();
    let (steps, what) =
        recover(&journal, &lock, Some(&it.settings), log(&it.dir).run(1).unwrap()).unwrap().unwrap();
    assert_eq!(steps, []);
    assert!(what.contains("started again"), "{what}");
    assert_eq!((it.value(REUSE), log(&it.dir).run(1).unwrap().phase), ("1".into(), Phase::Closed));
}
