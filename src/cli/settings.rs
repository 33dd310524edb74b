//! The settings of a route, as options of the commands that put or register one: an option for each.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgGroup, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::route::{SettingField, Settings};

/// The group that all of the options are in.
pub(super) const GROUP: &str = "settings";

/// The settings that were given.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingArgs(pub(super) Settings);

impl Args for SettingArgs {
    fn augment_args(command: Command) -> Command {
        let names = Settings::FIELDS.iter().map(|field| field.name);
        let group = ArgGroup::new(GROUP).args(names).multiple(true);
        let args = Settings::FIELDS.iter().map(option);
        command.args(args).group(group)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut given = Self::default();
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for field in Settings::FIELDS {
            if let Some(text) = matches.get_one::<String>(field.name) {
                let set = self.0.set_text(field.name, text);
                set.map_err(|error| Error::raw(clap::error::ErrorKind::ValueValidation, error))?;
            }
        }
        Ok(())
    }
}

fn option(field: &SettingField) -> Arg {
    // clap wants a text that lives as long as the process.
    let long: &'static str = String::leak(field.name.replace('_', "-"));
    let option = Arg::new(field.name)
        .long(long)
        .value_name(field.value)
        .help(field.help);
    if field.values.is_empty() {
        let name = field.name;
        option.value_parser(move |text: &str| {
            let set = Settings::default().set_text(name, text);
            set.map(|()| text.to_owned()).map_err(|error| error.problem)
        })
    } else {
        option.value_parser(PossibleValuesParser::new(field.values.iter().copied()))
    }
}
