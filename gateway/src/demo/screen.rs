//! The demo's screen: what happens, live, and keys that do harm and mend it.

use super::visitors::Visitors;
use super::world::{SITES, World};
use super::{sensors, staff};
use anyhow::Result;
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const LOOK_EVERY: Duration = Duration::from_millis(400);
const LINES_MAX: usize = 200;
/// Short enough for a terminal of 80 columns.
const KEYS: &str = "v visitor  k kill -9 leader  s cut site  c cut cloud  r restore  q quit";

#[derive(Default)]
struct View {
    /// Per site: its own status, or why there is none.
    sites: Vec<Result<Value, String>>,
    instances: Vec<Value>,
    lines: VecDeque<String>,
    cloud: String,
    devices: String,
    visits: String,
}

impl View {
    fn say(&mut self, text: impl Into<String>) {
        self.lines.push_front(format!("{}  {}", jiff::Zoned::now().strftime("%H:%M:%S"), text.into()));
        self.lines.truncate(LINES_MAX);
    }
}

pub async fn show(world: Arc<World>, visitors: Arc<Visitors>) -> Result<()> {
    let mut terminal = ratatui::init();
    let background = [tokio::spawn(staff::answer_everything(world.clone())), tokio::spawn(sensors::run(world.clone()))];
    let outcome = drive(&mut terminal, &world, &visitors).await;
    ratatui::restore();
    background.iter().for_each(tokio::task::JoinHandle::abort);
    outcome
}

async fn drive(terminal: &mut ratatui::DefaultTerminal, world: &Arc<World>, visitors: &Arc<Visitors>) -> Result<()> {
    let mut keys = read_keys();
    let mut view = View::default();
    view.say("three buildings are up; press v for a visitor");
    let mut cut = None;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => look(world, visitors, &mut view).await,
            key = keys.recv() => match key {
                Some('v') => {
                    view.say("a visitor arrives");
                    tokio::spawn(visitors.clone().visit(Duration::from_secs(6)));
                }
                Some('k') => match world.leader().await {
                    Some(leader) => {
                        world.buildings.lock().await[leader].kill();
                        view.say(format!("kill -9: the gateway of {}, the leader", SITES[leader]));
                    }
                    None => view.say("there is no leader to kill"),
                },
                Some('s') => {
                    let site = cut.map_or(0, |last: usize| (last + 1) % SITES.len());
                    cut = Some(site);
                    world.cut_site(site);
                    view.say(format!("{} is cut off from the others", SITES[site]));
                }
                Some('c') => {
                    world.cut_cloud();
                    view.say("the cloud link is cut");
                }
                Some('r') => {
                    world.restore().await?;
                    view.say("everything is restored");
                }
                Some('q') | None => return Ok(()),
                Some(_) => {}
            },
        }
        terminal.draw(|frame| draw(frame, &view))?;
    }
}

/// Keys from a thread of its own: reading the terminal blocks.
fn read_keys() -> mpsc::Receiver<char> {
    let (give, take) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = crossterm::event::read() {
            let Event::Key(key) = event else { continue };
            if key.kind != KeyEventKind::Press {
                continue;
            }
            let key = match key.code {
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => 'q',
                KeyCode::Char(key) => key,
                KeyCode::Esc => 'q',
                _ => continue,
            };
            if give.blocking_send(key).is_err() {
                return;
            }
        }
    });
    take
}

async fn look(world: &World, visitors: &Visitors, view: &mut View) {
    let mut sites = Vec::new();
    for place in 0..SITES.len() {
        let answer = tokio::time::timeout(Duration::from_millis(300), world.gateways.at(place, None, "/status")).await;
        sites.push(match answer {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(_)) => Err("does not answer".into()),
            Err(_) => Err("slow".into()),
        });
    }
    for place in 0..SITES.len() {
        if let Ok(Ok(body)) = tokio::time::timeout(Duration::from_millis(300), world.gateways.at(place, None, "/instances?limit=50")).await
        {
            view.instances = body["data"].as_array().cloned().unwrap_or_default();
            break;
        }
    }
    view.sites = sites;
    let counts = world.cloud.counts();
    let links = if world.cloud_links.iter().all(super::proxy::Link::is_up) { "up" } else { "CUT" };
    view.cloud = format!(
        "link {links}; {} events received, {} missing, {} doubles; {} summaries",
        counts.received, counts.missing, counts.duplicates, counts.site_summaries
    );
    let totals = world.ledger.totals();
    view.devices = format!(
        "{} devices: {} commands, {} openings, {} twice, {} late; {} events taken",
        world.devices.len(),
        totals.commands,
        totals.openings,
        totals.duplicate_openings,
        totals.stale_openings,
        totals.acknowledged_events
    );
    let tally = *visitors.tally.borrow();
    view.visits = format!("{} visits started, {} completed, {} faulted", tally.started, tally.completed, tally.faulted);
}

fn draw(frame: &mut Frame, view: &View) {
    let [sites, facts, instances, log, keys] =
        Layout::vertical([Constraint::Length(6), Constraint::Length(5), Constraint::Min(6), Constraint::Length(8), Constraint::Length(1)])
            .areas(frame.area());
    let rows = view.sites.iter().enumerate().map(|(place, site)| match site {
        Ok(body) => {
            let data = &body["data"];
            let stale = body["freshness"]["stale"] == true;
            let role = if stale { "no leader heard".into() } else { data["role"].as_str().unwrap_or("-").to_owned() };
            let style = match (stale, role.as_str()) {
                (true, _) => Style::new().fg(Color::Yellow),
                (false, "leader") => Style::new().fg(Color::Green).bold(),
                _ => Style::new(),
            };
            Row::new([
                SITES[place].to_owned(),
                role,
                data["term"].to_string(),
                data["applied"].to_string(),
                data["instances"]["running"].to_string(),
                format!("{}/{}", data["devices"]["online"], data["devices"]["known"]),
                data["outbox"]["backlog"].to_string(),
            ])
            .style(style)
        }
        Err(why) => Row::new([Cell::from(SITES[place]), Cell::from(why.clone())]).style(Style::new().fg(Color::Red)),
    });
    let widths = [
        Constraint::Length(10),
        Constraint::Length(18),
        Constraint::Length(6),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(14),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(["SITE", "GATEWAY", "TERM", "APPLIED", "RUNNING", "DEVICES", "CLOUD BACKLOG"]).bold())
        .block(Block::bordered().title(" Spalla: three buildings "));
    frame.render_widget(table, sites);
    let lines = vec![Line::from(view.visits.as_str()), Line::from(view.devices.as_str()), Line::from(format!("cloud: {}", view.cloud))];
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" Seen from outside ")), facts);
    let rows = view.instances.iter().map(|instance| {
        let at: Vec<String> = instance["positions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|position| format!("{} ({})", position["name"].as_str().unwrap_or("-"), position["waits_for"].as_str().unwrap_or("-")))
            .collect();
        let key = instance["business_key"].as_str().unwrap_or_else(|| instance["id"].as_str().unwrap_or("-"));
        Row::new([key.to_owned(), instance["flow"].as_str().unwrap_or("-").to_owned(), at.join(", ")])
    });
    let table = Table::new(rows, [Constraint::Length(16), Constraint::Length(24), Constraint::Min(20)])
        .header(Row::new(["INSTANCE", "FLOW", "AT"]).bold())
        .block(Block::bordered().title(" Running flows "));
    frame.render_widget(table, instances);
    let lines: Vec<Line> = view.lines.iter().map(|line| Line::from(line.as_str())).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" What happened ")), log);
    frame.render_widget(Paragraph::new(KEYS).style(Style::new().fg(Color::Cyan)), keys);
}
