//! The figures of all rounds, as sections of the report.

use std::time::Duration;

use super::batch::{Pace, Setting};
use super::contestant::{Label, Way};
use super::run::{Measured, Memory};
use crate::bench::measure::{Axis, Bound, Figure, Line, Plot, Section, Spread, Unit};
use crate::bench::process::Use;
use crate::error::{Error, Result};

/// How many at once the promises are made for.
pub(super) const PROMISED: [u32; 2] = [1, 20];

/// A name for a part of what a process uses, and that part in bytes.
type Kind = (&'static str, fn(&Use) -> u64);

/// A batch of one contestant in one round.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) contestant: usize,
    pub(super) round: u32,
    /// The model's requests up to the contestant's next batch.
    pub(super) requests: usize,
    pub(super) measured: Measured,
}

/// All that was measured with hosts that stay.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) contestants: Vec<Label>,
    pub(super) settings: Vec<Setting>,
    pub(super) runs: Vec<Run>,
    /// Of a server of Brigade's own, before and while all work.
    pub(super) own_server: Vec<(Use, Use)>,
}

impl Results {
    pub(super) fn sections(&self) -> Result<Vec<Section>> {
        let mut paces: Vec<Pace> = Vec::new();
        for setting in &self.settings {
            if !paces.contains(&setting.pace) {
                paces.push(setting.pace);
            }
        }
        let mut sections = vec![self.delegating()];
        sections.extend(paces.into_iter().map(|pace| self.waking(pace)));
        sections.push(self.beside_the_work());
        sections.push(self.carried()?);
        sections.push(self.memory());
        sections.retain(|section| !section.figures.is_empty());
        Ok(sections)
    }

    /// The contestants, with their numbers.
    fn each(&self) -> impl Iterator<Item = (usize, &Label)> {
        self.contestants.iter().enumerate()
    }

    /// Those that give work out.
    fn workers(&self) -> impl Iterator<Item = (usize, &Label)> {
        self.each().filter(|(_, label)| label.way != Way::Wait)
    }

    fn number(&self, way: &Way) -> Option<usize> {
        let mut each = self.each();
        each.find(|(_, label)| label.way == *way).map(|(of, _)| of)
    }

    /// What a contestant measured with so many at once; at one pace, or at any.
    fn of(
        &self,
        contestant: usize,
        pace: Option<Pace>,
        at_once: u32,
    ) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| {
            let setting = run.measured.batch.setting;
            run.contestant == contestant
                && setting.at_once == at_once
                && pace.is_none_or(|pace| pace == setting.pace)
        })
    }

    /// The numbers at once, each once.
    fn sizes(&self) -> Vec<u32> {
        let mut sizes: Vec<u32> = self
            .settings
            .iter()
            .map(|setting| setting.at_once)
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn most(&self) -> u32 {
        self.sizes().last().copied().unwrap_or_default()
    }

    fn delegating(&self) -> Section {
        let mut section = Section::new(
            "Delegating",
            "From the call of the tool to its result, as the host has stored it with the tool's part (in whole \
             milliseconds); all calls are in one answer of the model, so that the host makes them at the same time. For \
             the floor: `POST /session` and `POST /session/:id/prompt_async`, both answered, for all at the same time. The \
             tool that waits is a plugin's and does nothing else for a millisecond: what it takes is the host's own, since \
             what waits for anything outside stands in line behind the calls beside it. The slowest is that of each \
             batch.",
        );
        for (of, label) in self.each() {
            for at_once in self.sizes() {
                let runs = || self.of(of, None, at_once).map(|run| &run.measured.calls);
                let all = runs().flatten().copied();
                let figure = Figure::times(&label.name, column(at_once), all);
                let promised = label.way == Way::Brigade && PROMISED.contains(&at_once);
                section.figures.extend(match promised {
                    true => figure.map(|figure| figure.bound(Bound::AtMost(20.0))),
                    false => figure,
                });
                let slowest = runs().filter_map(|calls| calls.iter().max().copied());
                let row = format!("{}, the slowest", label.name);
                section
                    .figures
                    .extend(Figure::times(row, column(at_once), slowest));
            }
        }
        section
    }

    fn waking(&self, pace: Pace) -> Section {
        let mut section = Section::new(
            format!("From the end of the work to the waking, {pace}"),
            "All children wait at a gate until the parent is idle, and are let go together. From the moment at which the \
             last byte of a child's answer was sent by its model: to the child's being idle and to its notice in the \
             parent session, both as the host's event stream tells it; to the last change of the artifact's entry on \
             disk, whose clock has steps of some milliseconds; and, from the end of the last child of a batch, to the \
             parent's first request at the model that knows all the results. The floor is what anybody needs with the \
             host's API: all children idle, then one prompt into the idle parent. Ratios are of the same round.",
        );
        type Times = fn(&Measured) -> Vec<Duration>;
        let steps: [(&str, Times); 5] = [
            ("child idle", |measured| measured.idle.clone()),
            ("artifact on disk", |measured| measured.artifact.clone()),
            ("notice in the parent", |measured| measured.notice.clone()),
            ("of it, prompt to request", |measured| {
                measured.prompt.into_iter().collect()
            }),
            ("waking request", |measured| {
                measured.waking.into_iter().collect()
            }),
        ];
        for (of, label) in self.workers() {
            for (step, times) in steps {
                for at_once in self.sizes() {
                    let runs = self.of(of, Some(pace), at_once);
                    let all = runs.flat_map(|run| times(&run.measured));
                    let row = format!("{}: {step}", label.name);
                    section
                        .figures
                        .extend(Figure::times(row, column(at_once), all));
                }
            }
        }
        for (way, row, most) in [
            (Way::Floor, "Brigade's waking by the floor's", 1.5),
            (Way::Native, "Brigade's waking by the native one's", 1.0),
        ] {
            for at_once in self.sizes() {
                let ratios = self.ratios(&way, pace, at_once);
                let figure = Figure::new(row, column(at_once), Unit::Ratio, ratios);
                section.figures.extend(match PROMISED.contains(&at_once) {
                    true => figure.map(|figure| figure.bound(Bound::AtMost(most))),
                    false => figure,
                });
            }
        }
        section.plots.extend(self.plot(pace));
        section
    }

    /// Brigade's waking by another's, round by round.
    fn ratios(&self, other: &Way, pace: Pace, at_once: u32) -> Vec<f64> {
        let (Some(brigade), Some(other)) = (self.number(&Way::Brigade), self.number(other)) else {
            return Vec::new();
        };
        let ratio = |own: &Run| {
            let mut others = self.of(other, Some(pace), at_once);
            let beside = others.find(|run| run.round == own.round)?;
            let (own, beside) = (own.measured.waking?, beside.measured.waking?);
            Some(own.as_secs_f64() / beside.as_secs_f64())
        };
        self.of(brigade, Some(pace), at_once)
            .filter_map(ratio)
            .collect()
    }

    fn plot(&self, pace: Pace) -> Option<Plot> {
        let line = |(of, label): (usize, &Label)| {
            let point = |at_once: u32| {
                let runs = self.of(of, Some(pace), at_once);
                let spread = Spread::of_times(runs.filter_map(|run| run.measured.waking))?;
                Some((f64::from(at_once), spread))
            };
            Line {
                name: label.name.clone(),
                points: self.sizes().into_iter().filter_map(point).collect(),
            }
        };
        let name = match pace {
            Pace::Instant => "waking-instant",
            Pace::Stream => "waking-stream",
        };
        (self.sizes().len() > 1).then(|| Plot {
            name: name.to_owned(),
            title: format!("From the end of the last child's model to the waking request, {pace}"),
            x: Axis {
                label: "delegations at once".to_owned(),
                log: false,
            },
            y: Axis {
                label: "ms".to_owned(),
                log: false,
            },
            lines: self.workers().map(line).collect(),
        })
    }

    fn beside_the_work(&self) -> Section {
        let mut section = Section::new(
            "Requests and sessions beside the work",
            "The work of a batch needs a request at the model for each child, one for the parent's calls, one for the end \
             of that turn and one that wakes it (the floor's parent makes no calls), and a session for the parent and \
             each child. What there was beyond that, by batch.",
        );
        for (of, label) in self.workers() {
            let turns: u32 = if label.way == Way::Floor { 2 } else { 3 };
            for at_once in self.sizes() {
                let runs = || self.of(of, None, at_once);
                let requests = runs().map(|run| count(run.requests) - f64::from(at_once + turns));
                let sessions =
                    runs().map(|run| count(run.measured.sessions) - f64::from(at_once + 1));
                let rows: [(&str, Vec<f64>); 2] = [
                    ("model requests", requests.collect()),
                    ("sessions", sessions.collect()),
                ];
                for (what, values) in rows {
                    let row = format!("{}: {what}", label.name);
                    let figure = Figure::new(row, column(at_once), Unit::Count, values);
                    section.figures.extend(match label.way {
                        Way::Brigade => figure.map(|figure| figure.bound(Bound::AtMost(0.0))),
                        _ => figure,
                    });
                }
            }
        }
        section
    }

    fn carried(&self) -> Result<Section> {
        let mut section = Section::new(
            "What a model request carries",
            "System text and tools (their names, descriptions and schemas as JSON) of a request, beyond what the bare \
             host's carries; negative where it is less. A child's request is that of the agent at work. The notice is \
             what the waking request carries for each result, where the answer itself has about 130 characters.",
        );
        let carried = |of: usize| {
            let own = self.runs.iter().filter(move |run| run.contestant == of);
            own.filter_map(|run| Some((run.measured.batch, run.measured.carried?)))
        };
        let bare = self.number(&Way::Floor);
        let bare = bare.and_then(|floor| carried(floor).next());
        let (_, bare) =
            bare.ok_or_else(|| Error::Wrong("the bare host was not measured".to_owned()))?;
        for (of, label) in self.workers() {
            let parents = carried(of).map(|(_, own)| count(own.parent) - count(bare.parent));
            let children = carried(of).map(|(_, own)| count(own.child) - count(bare.child));
            let notices = carried(of)
                .map(|(batch, own)| count(own.notices) / f64::from(batch.setting.at_once));
            let columns: [(&str, Vec<f64>); 3] = [
                ("parent's request", parents.collect()),
                ("child's request", children.collect()),
                ("notice of a result", notices.collect()),
            ];
            for (name, values) in columns {
                let figure = Figure::new(&label.name, name, Unit::Characters, values);
                section.figures.extend(figure);
            }
        }
        Ok(section)
    }

    fn memory(&self) -> Section {
        let most = self.most();
        let mut section = Section::new(
            "Memory",
            format!(
                "Of a process, by Linux's `/proc/PID/smaps_rollup`: resident, where what is shared with \
                 other processes counts in full, and proportional, where it counts by its part (the hosts of all \
                 contestants share one program). Before {most} delegations are given out, and while all of their models \
                 are at work. The hosts are those of all the rounds, with the sessions of earlier batches in them; the \
                 server of Brigade's own is one that `brigade run` has brought up."
            ),
        );
        let mut pairs: Vec<(String, Vec<(Use, Use)>)> = Vec::new();
        for (of, label) in self.workers() {
            let of_host = |look: fn(&Memory) -> Option<Use>| {
                let runs = self.runs.iter().filter(|run| run.contestant == of);
                let pairs = runs.filter_map(|run| {
                    let (before, during) = run.measured.memory.as_ref()?;
                    look(before).zip(look(during))
                });
                pairs.collect::<Vec<_>>()
            };
            pairs.push((
                format!("{}: host", label.name),
                of_host(|memory| Some(memory.host)),
            ));
            let daemons = of_host(|memory| memory.daemon);
            pairs.push((format!("{}: daemon", label.name), daemons));
        }
        pairs.push(("Brigade: own server".to_owned(), self.own_server.clone()));
        for (row, pairs) in pairs {
            let kinds: [Kind; 2] = [
                ("resident", |used| used.rss),
                ("proportional", |used| used.pss),
            ];
            for (kind, look) in kinds {
                let row = format!("{row}, {kind}");
                let before = pairs.iter().map(|(before, _)| bytes(look(before)));
                let during = pairs.iter().map(|(_, during)| bytes(look(during)));
                let columns: [(String, Vec<f64>); 2] = [
                    ("before".to_owned(), before.collect()),
                    (format!("with {most} at work"), during.collect()),
                ];
                for (column, values) in columns {
                    let figure = Figure::new(&row, column, Unit::Bytes, values);
                    section.figures.extend(figure);
                }
            }
        }
        section
    }
}

fn column(at_once: u32) -> String {
    format!("{at_once} at once")
}

#[expect(clippy::cast_precision_loss, reason = "there are not so many")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "no memory is so large")]
fn bytes(number: u64) -> f64 {
    number as f64
}
