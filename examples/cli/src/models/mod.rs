//! `deepsight models`: lists models that others published, and downloads one when asked.

mod catalog;
#[cfg(feature = "fetch")]
mod fetch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::{complain, print};
use catalog::{Catalog, Entry, Model};

/// Lists models that others published, with their terms. Nothing is downloaded until `fetch` asks for it.
#[derive(Debug, Parser)]
#[command(name = "models", version)]
pub struct Args {
    /// Catalogue to use instead of that of this program: a JSON file, such as one of your own mirror
    #[arg(long, value_name = "FILE", global = true)]
    catalog: Option<PathBuf>,
    /// What to do; without it, the models are listed
    #[command(subcommand)]
    action: Option<Action>,
}

/// An action on the catalogue.
#[derive(Debug, Subcommand)]
enum Action {
    /// Print what is known of a model
    Show(ShowArgs),
    /// Download the files of a model, and compare their SHA-256 where one is published
    Fetch(FetchArgs),
}

/// Flags of `deepsight models show`.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Name of the model
    #[arg(value_name = "MODEL")]
    name: String,
}

/// Flags of `deepsight models fetch`.
#[derive(Debug, clap::Args)]
struct FetchArgs {
    /// Name of the model
    #[arg(value_name = "MODEL")]
    name: String,
    /// Folder for the files; it is created if it is missing
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Accept the terms of the model, which are printed without this flag
    #[arg(long)]
    accept_terms: bool,
}

/// Lists, shows or downloads models, and returns the exit code.
pub fn main(args: &Args) -> ExitCode {
    let (message, code) = match run(args).map(|text| print(&text)) {
        Ok(Ok(_)) => return ExitCode::SUCCESS,
        Ok(Err(error)) => (deepsight_core::with_causes(&error), 1),
        Err(ModelsError { message, code }) => (message, code),
    };
    complain(&format!("error: {message}"));
    ExitCode::from(code)
}

/// The error of the command: its message and exit code.
#[derive(Debug)]
struct ModelsError {
    message: String,
    code: u8,
}

impl ModelsError {
    fn usage(message: String) -> Self {
        Self { message, code: 2 }
    }
}

fn run(args: &Args) -> Result<String, ModelsError> {
    let catalog = args.catalog.as_deref().map_or_else(Catalog::bundled, Catalog::read).map_err(ModelsError::usage)?;
    let find = |name: &str| catalog.find(name).map_err(ModelsError::usage);
    match &args.action {
        None => Ok(list(&catalog)),
        Some(Action::Show(show)) => Ok(described(find(&show.name)?)),
        Some(Action::Fetch(fetch)) => download(find(&fetch.name)?, fetch),
    }
}

fn list(catalog: &Catalog) -> String {
    let mut lines = Vec::new();
    for model in &catalog.models {
        let by_hand = if model.is_reachable() { "" } else { " (download by hand)" };
        lines.push(format!("{}: {}{by_hand}", model.name, model.about));
        lines.push(format!("  source   {}", model.source));
        lines.push(format!("  license  {}", model.license));
        lines.push(format!("  terms    {}", model.terms));
        for file in &model.files {
            lines.push(format!("  file     {}: {}", file.name, size_and_digest(file)));
        }
        let origin = model.origin().map_or_else(|| "no --from".into(), |origin| format!("--from {origin}"));
        lines.push(format!("  convert  {origin}"));
        lines.push(String::new());
    }
    lines.push("`deepsight models show MODEL` has the terms and the command that makes a model file of it.".into());
    lines.join("\n")
}

/// Describes the size and the checksum of a file.
fn size_and_digest(file: &Entry) -> String {
    let size = file.bytes.map_or_else(|| "size unknown".into(), |bytes| format!("{bytes} bytes"));
    let digest = file.sha256.as_ref().map_or_else(|| "SHA-256 not published".into(), |it| format!("SHA-256 {it}"));
    format!("{size}, {digest}")
}

fn described(model: &Model) -> String {
    let mut lines = vec![
        format!("{}: {}", model.name, model.about),
        format!("project  {}", model.source),
        format!("license  {}", model.license),
        format!("terms    {}", model.terms),
    ];
    for file in &model.files {
        let place = file.address.as_deref().unwrap_or("linked on the project's page, for a browser only");
        lines.push(format!("file     {}: {}\n         {place}", file.name, size_and_digest(file)));
    }
    lines.push(format!("convert  {}", model.conversion(std::path::Path::new("."))));
    lines.push(
        "The addresses are those in the project's own code or pages. DeepSight's authors do not publish these files \
         and have not tried them; convert --reference compares a score with the original's."
            .into(),
    );
    lines.join("\n")
}

fn download(model: &Model, args: &FetchArgs) -> Result<String, ModelsError> {
    if !model.is_reachable() {
        let message = format!(
            "{} can be downloaded with a browser only, from the links on {}; then: {}",
            model.name,
            model.source,
            model.conversion(&args.dir)
        );
        return Err(ModelsError { message, code: 1 });
    }
    if !args.accept_terms {
        let message = format!(
            "nothing was downloaded. Terms of {} ({}): {}. --accept-terms accepts them",
            model.name, model.source, model.terms
        );
        return Err(ModelsError::usage(message));
    }
    #[cfg(not(feature = "fetch"))]
    {
        let addresses: Vec<_> = model.files.iter().filter_map(|file| file.address.as_deref()).collect();
        Err(ModelsError::usage(format!(
            "this build does not use the network: install it with --features fetch, or download {} yourself",
            addresses.join(" and ")
        )))
    }
    #[cfg(feature = "fetch")]
    {
        crate::output::create_folder(&args.dir)
            .map_err(|error| ModelsError { message: deepsight_core::with_causes(&error), code: 2 })?;
        let mut lines = vec![format!("terms      {}", model.terms)];
        for file in &model.files {
            let fetched = fetch::fetch(file, &args.dir).map_err(|message| ModelsError { message, code: 1 })?;
            let done = if fetched.is_new { "saved     " } else { "there     " };
            lines.push(format!("{done} {}: {} bytes", fetched.path.display(), fetched.bytes));
            let (digest, compared) = (fetched.sha256, file.sha256.is_some());
            let published = if compared { "as published" } else { "not compared, because none is published" };
            lines.push(format!("           SHA-256 {digest}, {published}"));
        }
        lines.push(format!("next       {}", model.conversion(&args.dir)));
        Ok(lines.join("\n"))
    }
}
