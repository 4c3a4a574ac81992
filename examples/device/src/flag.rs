//! The flag `--device` for programs that read their flags with clap.

use clap::builder::{TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use super::{Device, list};

/// Reads the flag `--device`: a device's name, or `list`.
///
/// For `list`, it returns the list of devices as clap's error for `--help`. So the program that parses its flags prints
/// the list on standard output and exits with code 0, and its flag only has to be of type [`Device`] or `Vec<Device>`.
#[derive(Debug, Clone)]
pub struct DeviceParser;

impl ValueParserFactory for Device {
    type Parser = DeviceParser;

    fn value_parser() -> DeviceParser {
        DeviceParser
    }
}

impl TypedValueParser for DeviceParser {
    type Value = Device;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &std::ffi::OsStr) -> Result<Device, Error> {
        if value == "list" { Err(shown(list())) } else { str::parse::<Device>.parse_ref(cmd, arg, value) }
    }
}

/// Returns the error of a `--help` with this text.
fn shown(text: String) -> Error {
    let help = Command::new("list").about(text).help_template("{about}").term_width(0);
    match help.try_get_matches_from(["list", "--help"]) {
        Err(shown) => shown,
        Ok(_) => Error::new(ErrorKind::DisplayHelp),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[arg(long, default_value_t = Device::default(), help = Device::help("Where the networks run"))]
        device: Device,
        #[arg(long)]
        several: Vec<Device>,
    }

    fn parse(flags: &[&str]) -> Result<Program, Error> {
        Program::try_parse_from([&["program"], flags].concat())
    }

    #[test]
    fn every_flag_that_takes_a_device_shows_the_list_as_help() {
        for flags in [&["--device", "list"][..], &["--several", "list"], &["--several=list", "--several=list"]] {
            let shown = parse(flags).unwrap_err();
            assert_eq!((shown.kind(), shown.exit_code(), shown.use_stderr()), (ErrorKind::DisplayHelp, 0, false));
            let text = shown.to_string();
            assert!(text.ends_with('\n') && !text.contains("error") && !text.contains("Usage"), "{text}");
            let names: Vec<_> = text.lines().map(|line| line.split_once("  ").unwrap().0.trim()).collect();
            let kind = |name: &&str| name.trim_end_matches("[:n]").to_string();
            let listed = |kind: String| names.iter().any(|name| name.starts_with(&kind));
            assert!(Device::NAMES.iter().map(kind).all(listed), "{text}");
        }
    }

    #[test]
    fn a_long_line_stays_one_line() {
        let line = "word ".repeat(100);
        assert_eq!(shown(line.clone()).to_string().trim_end(), line.trim_end());
    }

    #[test]
    fn a_device_is_read_as_before() {
        let device = Device::default();
        let name = device.to_string();
        assert_eq!(parse(&[]).unwrap().device, device);
        assert_eq!(parse(&["--several", &name, "--several", &name]).unwrap().several, [device, device]);
        let message = parse(&["--device", "tpu"]).unwrap_err().to_string();
        assert!(message.contains("no device \"tpu\" in this build") && message.contains("--device"), "{message}");
    }
}
