//! Tables of what came of the kernels: for a person, and for the documentation.

use super::debian::Architecture;
use super::kernels::{KERNELS, Kernel};
use crate::run;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const DOCUMENT: &str = "docs/kernels.md";

/// What is known of a kernel: the result that its folder holds.
#[derive(Debug)]
pub struct Column {
    name: String,
    why: String,
    result: Value,
}

impl Column {
    /// Reads it; `None` where the kernel was never run.
    pub fn read(kernel: &'static Kernel, folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join("result.json")).ok()?;
        let result = serde_json::from_str(&text).ok()?;
        Some(Self {
            name: kernel.name.to_owned(),
            why: kernel.why.to_owned(),
            result,
        })
    }

    /// The same of another architecture, where no tests are built.
    fn of_another(kernel: &Kernel, architecture: Architecture, folder: &Path) -> Option<Self> {
        let name = format!("{}-{}", kernel.name, architecture.kernel());
        let text = fs::read_to_string(folder.join(&name).join("result.json")).ok()?;
        Some(Self {
            name,
            why: format!(
                "{} on {}, with the agent alone: it is shown to see a program start",
                kernel.why,
                architecture.kernel()
            ),
            result: serde_json::from_str(&text).ok()?,
        })
    }

    fn rows(&self, list: &str, name: &str, value: impl Fn(&Value) -> String) -> Vec<(String, String)> {
        let rows = self.result["doctor"][list].as_array().into_iter().flatten();
        rows.map(|row| (row[name].as_str().unwrap_or_default().to_owned(), value(row)))
            .collect()
    }
}

/// A table whose rows come in the order in which they are first seen.
#[derive(Debug, Default)]
struct Table {
    head: Vec<String>,
    order: Vec<String>,
    cells: BTreeMap<(String, usize), String>,
}

impl Table {
    fn add(&mut self, column: &str, rows: Vec<(String, String)>) {
        let number = self.head.len();
        self.head.push(column.to_owned());
        for (row, value) in rows {
            if !self.order.contains(&row) {
                self.order.push(row.clone());
            }
            self.cells.insert((row, number), value);
        }
    }

    fn lines(&self, corner: &str) -> Vec<Vec<String>> {
        let head = std::iter::once(corner.to_owned()).chain(self.head.iter().cloned());
        let rows = self.order.iter().map(|row| {
            let cell = |number| {
                self.cells
                    .get(&(row.clone(), number))
                    .cloned()
                    .unwrap_or_default()
            };
            std::iter::once(row.clone())
                .chain((0..self.head.len()).map(cell))
                .collect()
        });
        std::iter::once(head.collect()).chain(rows).collect()
    }

    fn text(&self, corner: &str) -> String {
        let lines = self.lines(corner);
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: Vec<_> = (0..=self.head.len()).map(width).collect();
        let line = |line: &Vec<String>| {
            let cells = line.iter().zip(&widths);
            let text: String = cells.map(|(cell, width)| format!("{cell:<width$}  ")).collect();
            format!("{}\n", text.trim_end())
        };
        lines.iter().map(line).collect()
    }

    fn markdown(&self, corner: &str) -> String {
        let line = |line: &Vec<String>| format!("| {} |\n", line.join(" | "));
        let lines = self.lines(corner);
        let rule = format!("|{}\n", "---|".repeat(self.head.len() + 1));
        let mut text = String::new();
        for (number, cells) in lines.iter().enumerate() {
            text.push_str(&line(cells));
            if number == 0 {
                text.push_str(&rule);
            }
        }
        text
    }
}

fn table(columns: &[Column], rows: impl Fn(&Column) -> Vec<(String, String)>) -> Table {
    let mut table = Table::default();
    for column in columns {
        table.add(&column.name, rows(column));
    }
    table
}

fn kernels(columns: &[Column]) -> Table {
    table(columns, |column| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut rows = vec![
            ("version".to_owned(), text(&column.result["version"])),
            (
                "security modules".to_owned(),
                text(&column.result["doctor"]["facts"]["security modules"]),
            ),
        ];
        for test in column.result["tests"].as_array().into_iter().flatten() {
            let row = format!("tests: {}", test["name"].as_str().unwrap_or_default());
            if test["ended"] == false {
                rows.push((row, "did not come to their end".to_owned()));
                continue;
            }
            let number = |key: &str| test[key].as_u64().unwrap_or(0);
            let skipped = test["skipped"].as_array().map_or(0, Vec::len);
            let mut words = vec![format!("{} passed", number("passed"))];
            words.extend((number("failed") > 0).then(|| format!("{} failed", number("failed"))));
            words.extend((skipped > 0).then(|| format!("{skipped} skipped")));
            rows.push((row, words.join(", ")));
        }
        rows
    })
}

fn capabilities(columns: &[Column]) -> Table {
    table(columns, |column| {
        column.rows("capabilities", "name", |row| {
            let tier = row["tier"].as_str().unwrap_or("-");
            match row["missing"]
                .as_array()
                .is_some_and(|missing| !missing.is_empty())
            {
                true => format!("{tier} (in part)"),
                false => tier.to_owned(),
            }
        })
    })
}

fn evasions(columns: &[Column]) -> Table {
    table(columns, |column| {
        column.rows("evasions", "name", |row| {
            row["seen"].as_str().unwrap_or("-").to_owned()
        })
    })
}

fn instructions(columns: &[Column]) -> Table {
    let mut table = table(columns, |column| {
        let programs = column.result["doctor"]["verified_instructions"].as_object();
        let rows = programs.into_iter().flatten();
        rows.map(|(name, count)| (name.clone(), count.to_string()))
            .collect()
    });
    table.order.sort();
    table
}

/// Prints what a person wants to know after a run.
pub fn print(columns: &[Column]) {
    println!("{}", kernels(columns).text("kernel"));
    println!("{}", capabilities(columns).text("capability"));
}

/// Writes the tables into the documentation, from the last run of each kernel.
pub fn write(folder: &Path) -> Result<()> {
    let own: Vec<_> = KERNELS
        .iter()
        .filter_map(|kernel| Column::read(kernel, &folder.join(kernel.name)))
        .collect();
    let missing: Vec<_> = KERNELS
        .iter()
        .map(|kernel| kernel.name)
        .filter(|name| own.iter().all(|column| column.name != *name))
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(" ");
        bail!(
            "{DOCUMENT} is left as it is, because its columns of these kernels would be lost: {missing}. No run of \
             them without --test and a filter is kept in {}; `cargo xtask vm {missing} --doctor` makes one in a minute \
             each, without tests",
            folder.display()
        );
    }
    let others = [Architecture::Amd64, Architecture::Arm64]
        .into_iter()
        .filter(|architecture| !architecture.is_of_this_machine())
        .flat_map(|architecture| KERNELS.iter().map(move |kernel| (kernel, architecture)))
        .filter_map(|(kernel, architecture)| Column::of_another(kernel, architecture, folder));
    let columns: Vec<_> = own.into_iter().chain(others).collect();
    let path = run::root().join(DOCUMENT);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).context("cannot make the folder of the documentation")?;
    }
    fs::write(&path, document(&columns)).with_context(|| path.display().to_string())?;
    println!("written: {}", path.display());
    Ok(())
}

fn document(columns: &[Column]) -> String {
    let list: String = columns
        .iter()
        .map(|column| format!("- **{}**: {}\n", column.name, column.why))
        .collect();
    format!(
        "<!-- Generated by `cargo xtask vm --write-docs` from runs on these kernels; not to be edited. -->\n\
         # Kernels\n\n\
         What the agent has on each kernel of the test matrix, as `norma-agent doctor` reported it in a virtual \
         machine, and what the tests came to when they last ran there as a whole; an empty cell is a suite that did \
         not.\n\n\
         {list}\n{}\n\
         ## How each capability is had\n\n\
         The best way that the kernel allows; `-` where there is none.\n\n{}\n\
         ## What is seen of each evasion\n\n{}\n\
         ## Instructions that the verifier walked through\n\n\
         By program, where the kernel tells (from 5.16 on); an empty cell is a program that is not loaded there.\n\n{}",
        kernels(columns).markdown("kernel"),
        capabilities(columns).markdown("capability"),
        evasions(columns).markdown("evasion"),
        instructions(columns).markdown("program"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn column(number: usize, capabilities: &Value) -> Column {
        Column {
            name: KERNELS[number].name.to_owned(),
            why: String::new(),
            result: json!({"version": "1", "doctor": {"capabilities": capabilities}}),
        }
    }

    #[test]
    fn a_capability_that_only_one_kernel_has_is_a_row_all_the_same() {
        let columns = [
            column(
                0,
                &json!([{"name": "exec", "tier": "btf-tracepoint", "missing": []}]),
            ),
            column(
                1,
                &json!([{"name": "exec", "tier": null, "missing": []}, {"name": "open", "tier": "lsm", "missing": ["x"]}]),
            ),
        ];
        assert_eq!(
            capabilities(&columns).markdown("capability"),
            "| capability | 5.10 | 5.10+lsm |\n|---|---|---|\n| exec | btf-tracepoint | - |\n| open |  | lsm (in part) |\n"
        );
    }
}
