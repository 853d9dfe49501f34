//! `dns:` of a module.

use super::{Dns, Records, family, regexes};
use crate::exchange::StepError;
use crate::probe::dns_message::{class_number, rcode_number, type_number};
use crate::probe::forms::{DnsForm, RecordsForm};

impl DnsForm {
    pub(super) fn check(self, place: &str) -> Result<Dns, StepError> {
        let at = |field: &str| format!("{place}.{field}");
        let unknown =
            |field: &str, text: &str| StepError::new(at(field), format!("{text:?} is not known"));
        if self.query_name.is_empty() {
            return Err(StepError::new(at("query_name"), "is missing"));
        }
        let tcp = match self.transport_protocol.as_str() {
            "tcp" => true,
            "udp" | "" => false,
            other => return Err(unknown("transport_protocol", other)),
        };
        let records = |form: &RecordsForm, field: &str| -> Result<Records, StepError> {
            let place = at(field);
            Ok(Records {
                fail_if_matches: regexes(&form.fail_if_matches_regexp, &place)?,
                fail_if_all_match: regexes(&form.fail_if_all_match_regexp, &place)?,
                fail_if_not_matches: regexes(&form.fail_if_not_matches_regexp, &place)?,
                fail_if_none_matches: regexes(&form.fail_if_none_matches_regexp, &place)?,
            })
        };
        let valid_rcodes = if self.valid_rcodes.is_empty() {
            vec![0]
        } else {
            self.valid_rcodes
                .iter()
                .map(|r| rcode_number(r).ok_or_else(|| unknown("valid_rcodes", r)))
                .collect::<Result<_, _>>()?
        };
        Ok(Dns {
            family: family(&self.preferred_ip_protocol, self.ip_protocol_fallback, place)?,
            tcp,
            class: class_number(&self.query_class)
                .ok_or_else(|| unknown("query_class", &self.query_class))?,
            kind: type_number(&self.query_type)
                .ok_or_else(|| unknown("query_type", &self.query_type))?,
            name: self.query_name,
            recursion: self.recursion_desired,
            valid_rcodes,
            answer: records(&self.validate_answer_rrs, "validate_answer_rrs")?,
            authority: records(&self.validate_authority_rrs, "validate_authority_rrs")?,
            additional: records(&self.validate_additional_rrs, "validate_additional_rrs")?,
        })
    }
}
