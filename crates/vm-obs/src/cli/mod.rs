//! The verbs that talk to a running server or read a data folder.

use std::process::ExitCode;

/// What can be asked.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Verify a data folder offline
    #[command(disable_help_flag = true)]
    Verify {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Verify { args } => {
            let options = match obs_proof::verify::VerifyOptions::parse(args)? {
                obs_proof::verify::Parsed::Help => {
                    println!("{}", obs_proof::verify::HELP);
                    return Ok(ExitCode::SUCCESS);
                }
                obs_proof::verify::Parsed::Run(options) => options,
            };
            let report = obs_proof::verify::verify(&options)?;
            println!("{report}");
            Ok(ExitCode::from(report.exit_code()))
        }
    }
}
