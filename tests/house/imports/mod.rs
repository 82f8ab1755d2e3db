//! Imports of `src` go down: no circle of files, floors over floors, rooms over rooms (`floors.rs` has the plan).

pub mod floors;
pub mod graph;
pub mod source;
#[cfg(test)]
mod tests;

use crate::Finding;
use crate::repository::Files;
use floors::{FLOORS, Floor, ORACLES, ROOF};
use graph::{Import, Knot, imports, is_test_file, knots};
use std::collections::BTreeSet;

/// Circles of files.
fn circle_findings(files: &Files) -> Vec<Finding> {
    let imports = imports(files);
    let show = |Knot { circle, files }: Knot<'_>| {
        let mut path = circle[0].from.clone();
        for import in &circle {
            path += &format!(" → {} (line {}: {})", import.to, import.line, import.path);
        }
        Finding::new(
            &circle[0].from,
            circle[0].line,
            format!("a circle of imports in a knot of {files} files: {path}"),
        )
    };
    knots(&imports).into_iter().map(show).collect()
}

/// Imports between floors that do not go down.
fn floor_findings(files: &Files) -> Vec<Finding> {
    let mut found: Vec<Finding> = undeclared(files, |file| match floor(file) {
        None if !ROOF.contains(&file) => {
            Some(format!("`{}` is no floor: declare it in FLOORS", floor_name(file)))
        }
        _ => None,
    });
    for import in imports(files) {
        if let Some(reason) = wrong_floor(&import) {
            let Import { from, to, line, path } = import;
            found.push(Finding::new(&from, line, format!("{path} is in {to}: {reason}")));
        }
    }
    found
}

fn wrong_floor(import: &Import) -> Option<String> {
    if ROOF.contains(&import.from.as_str()) {
        return None;
    }
    if ROOF.contains(&import.to.as_str()) {
        return Some("nothing imports the root of a crate".to_owned());
    }
    let (from, to) = (floor(&import.from)?, floor(&import.to)?);
    if from.name == to.name || from.height > to.height {
        None
    } else if to.name == ORACLES {
        Some("only unit tests import oracles".to_owned())
    } else if from.height == to.height {
        Some(format!("floors `{}` and `{}` stand side by side", from.name, to.name))
    } else {
        Some(format!("floor `{}` stands below `{}`", from.name, to.name))
    }
}

/// Imports between the rooms of a floor that do not go down.
fn room_findings(files: &Files) -> Vec<Finding> {
    let mut found: Vec<Finding> = undeclared(files, |file| {
        let floor = floor(file).filter(|floor| !floor.rooms.is_empty())?;
        let room = room(file)?;
        let known = level(floor, room).is_some();
        (!known).then(|| format!("`{room}` is no room of `{}`: declare it in FLOORS", floor.name))
    });
    for import in imports(files) {
        if let Some(reason) = wrong_room(&import) {
            let Import { from, to, line, path } = import;
            found.push(Finding::new(&from, line, format!("{path} is in {to}: {reason}")));
        }
    }
    found
}

fn wrong_room(import: &Import) -> Option<String> {
    let floor = floor(&import.from)
        .filter(|floor| import.to == floor_map(floor) || floor_name(&import.to) == floor.name)?;
    if floor.rooms.is_empty() {
        return None;
    }
    let from = room(&import.from)?;
    let Some(to) = room(&import.to) else {
        return Some(format!("inside `{}` nothing is imported through its map", floor.name));
    };
    let (above, below) = (level(floor, from)?, level(floor, to)?);
    if from == to || above < below {
        None
    } else if above == below {
        Some(format!("rooms `{from}` and `{to}` stand side by side"))
    } else {
        Some(format!("room `{from}` stands below `{to}`"))
    }
}

/// Rooms and floors of the plan that are not there any more.
fn stale_plan(files: &Files) -> Vec<Finding> {
    let there = |path: &str| {
        let (file, folder) = (format!("src/{path}.rs"), format!("src/{path}/"));
        files.keys().any(|known| *known == file || known.starts_with(&folder))
    };
    let rooms = |floor: &Floor| {
        let rooms = floor.rooms.iter().flat_map(|line| line.iter());
        rooms.map(|room| format!("{}/{room}", floor.name)).chain([floor.name.to_owned()]).collect::<Vec<_>>()
    };
    let gone = FLOORS.iter().flat_map(rooms).filter(|path| !there(path));
    gone.map(|path| Finding::new("src", 0, format!("FLOORS declares `{path}`, which is not there"))).collect()
}

/// One finding for each undeclared name, at the first file that has it.
fn undeclared(files: &Files, judge: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut said = BTreeSet::new();
    let sources =
        files.keys().filter(|file| file.starts_with("src/") && file.ends_with(".rs") && !is_test_file(file));
    let mut found = Vec::new();
    for file in sources {
        if let Some(what) = judge(file).filter(|what| said.insert(what.clone())) {
            found.push(Finding::new(file, 1, what));
        }
    }
    found
}

fn floor_name(file: &str) -> &str {
    file.trim_start_matches("src/").split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

fn floor(file: &str) -> Option<&'static Floor> {
    FLOORS.iter().find(|floor| floor.name == floor_name(file))
}

/// The file of the floor itself: the map of what stands in it.
fn floor_map(floor: &Floor) -> String {
    format!("src/{}/mod.rs", floor.name)
}

/// The folder or file of a floor that a file belongs to; none for the map.
fn room(file: &str) -> Option<&str> {
    let name = file.trim_start_matches("src/").split('/').nth(1)?.trim_end_matches(".rs");
    (name != "mod").then_some(name)
}

fn level(floor: &Floor, room: &str) -> Option<usize> {
    floor.rooms.iter().position(|line| line.contains(&room))
}
