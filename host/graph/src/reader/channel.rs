//! Channels: a JSON Schema each, plus `reducer`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::definition::{Channel, Managed};
use crate::ids::ChannelName;
use crate::state::{Reducer, Schema};

use super::fields::quote;
use super::sink::Code;
use super::tree::{Item, Member, find, members_to_json};
use super::{Reader, join};

impl Reader<'_> {
    pub(super) fn channels(&mut self, state: &Member) -> BTreeMap<ChannelName, Channel> {
        let mut channels = BTreeMap::new();
        for member in self.table(&state.item, "state").unwrap_or_default() {
            let name = self.parse_name(&member.name, member.offset, ChannelName::parse);
            let channel = self.channel(&join("state", &member.name), member);
            if let (Some(name), Some(channel)) = (name, channel)
                && channels.insert(name, channel).is_some()
            {
                self.declared_twice("state", member);
            }
        }
        channels
    }

    fn channel(&mut self, path: &str, member: &Member) -> Option<Channel> {
        let members = self.table(&member.item, path)?;
        if let Some(managed) = find(members, "managed") {
            return self.managed_channel(path, member.offset, members, managed);
        }
        let reducer = match find(members, "reducer") {
            Some(member) => self.reducer(&join(path, "reducer"), &member.item),
            None => Some(Reducer::default()),
        };
        let schema = self.schema(path, member.offset, members, Value::Object(members_to_json(members, &["reducer"])));
        let (schema, reducer) = (schema?, reducer?);
        let initial = schema.document().get("default").cloned();
        if let (Some(value), Some(member)) = (&initial, find(members, "default")) {
            self.check_initial(path, &member.item, value, &schema, reducer);
        }
        Some(Channel { schema, reducer, initial: initial.or_else(|| reducer.zero()), managed: None })
    }

    /// A channel whose value the engine computes: nothing is written to it, so nothing is said about writes.
    fn managed_channel(
        &mut self,
        path: &str,
        offset: Option<usize>,
        members: &[Member],
        managed: &Member,
    ) -> Option<Channel> {
        for key in ["reducer", "default"] {
            if let Some(member) = find(members, key) {
                self.sink.report(
                    Code::Managed,
                    member.offset,
                    format!("`{}` does not go with `managed`", join(path, key)),
                    "remove it: the engine computes the value for each task",
                );
            }
        }
        let written = members_to_json(members, &["managed", "reducer", "default"]);
        let kind = self.one_of(&join(path, "managed"), &managed.item, &Managed::NAMES)?;
        let document = match kind {
            _ if !written.is_empty() => Value::Object(written),
            Managed::RemainingSteps => json!({ "type": "integer", "minimum": 1 }),
            Managed::IsLastStep => json!({ "type": "boolean" }),
        };
        let schema = self.schema(path, offset, members, document)?;
        let refused = [1, u32::MAX].into_iter().find_map(|steps_left| schema.check(&kind.value(steps_left)).err());
        if let Some(violations) = refused {
            let reasons: Vec<String> = violations.iter().map(ToString::to_string).collect();
            self.sink.report(
                Code::Managed,
                managed.offset,
                format!("`{path}` does not allow what `{}` gives: {}", kind.name(), reasons.join(", ")),
                "remove the schema: the engine's values have one of their own",
            );
        }
        Some(Channel { schema, reducer: Reducer::default(), initial: None, managed: Some(kind) })
    }

    fn reducer(&mut self, path: &str, item: &Item) -> Option<Reducer> {
        let text = self.string(path, item)?;
        let found = Reducer::parse(text);
        if found.is_none() {
            let names = Reducer::NAMES.map(|(_, name)| name);
            let cure = self
                .suggest(text, names.into_iter())
                .unwrap_or_else(|| format!("known reducers: {}", names.join(", ")));
            self.sink.report(Code::Reducer, item.offset, format!("`{path}`: unknown reducer {}", quote(text)), cure);
        }
        found
    }

    fn check_initial(&mut self, path: &str, item: &Item, value: &Value, schema: &Schema, reducer: Reducer) {
        let reason = match (schema.check(value), reducer.check_shape(value)) {
            (Err(violations), _) => violations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            (Ok(()), Err(shape)) => format!("reducer `{}` needs {shape}", reducer.name()),
            (Ok(()), Ok(())) => return,
        };
        self.sink.report(
            Code::Initial,
            item.offset,
            format!("`{path}.default` does not fit its channel: {reason}"),
            "change the default or the schema",
        );
    }

    /// Compiles the schema that `members` spell; `offset` is where it begins.
    pub(super) fn schema(
        &mut self,
        path: &str,
        offset: Option<usize>,
        members: &[Member],
        document: Value,
    ) -> Option<Schema> {
        for member in members {
            self.check_keyword(path, member);
        }
        Schema::compile_located(document)
            .map_err(|fault| {
                let keyword = fault.pointer.split('/').nth(1);
                let place =
                    keyword.and_then(|keyword| find(members, keyword)).map_or(offset, |member| member.item.offset);
                let message = format!("`{path}` is not a JSON Schema: {fault}");
                self.sink.report(Code::Schema, place, message, "write a JSON Schema such as { type = \"string\" }");
            })
            .ok()
    }

    /// JSON Schema ignores keywords that it does not know, so a mistyped one would check nothing: it is reported when it resembles a known one.
    fn check_keyword(&mut self, path: &str, member: &Member) {
        const KEYWORDS: [&str; 60] = [
            "$anchor",
            "$comment",
            "$defs",
            "$dynamicAnchor",
            "$dynamicRef",
            "$id",
            "$ref",
            "$schema",
            "$vocabulary",
            "additionalItems",
            "additionalProperties",
            "allOf",
            "anyOf",
            "const",
            "contains",
            "contentEncoding",
            "contentMediaType",
            "default",
            "definitions",
            "dependencies",
            "dependentRequired",
            "dependentSchemas",
            "deprecated",
            "description",
            "else",
            "enum",
            "examples",
            "exclusiveMaximum",
            "exclusiveMinimum",
            "format",
            "if",
            "items",
            "managed",
            "maxContains",
            "maxItems",
            "maxLength",
            "maxProperties",
            "maximum",
            "minContains",
            "minItems",
            "minLength",
            "minProperties",
            "minimum",
            "multipleOf",
            "not",
            "oneOf",
            "pattern",
            "patternProperties",
            "prefixItems",
            "properties",
            "propertyNames",
            "readOnly",
            "reducer",
            "required",
            "then",
            "title",
            "type",
            "unevaluatedItems",
            "unevaluatedProperties",
            "contentSchema",
        ];
        let name = member.name.as_str();
        if KEYWORDS.contains(&name) || name.starts_with("x-") {
            return;
        }
        if let Some(cure) = self.suggest(name, KEYWORDS.into_iter()) {
            self.sink.report(
                Code::UnknownKey,
                member.offset,
                format!("unknown schema keyword `{}`", join(path, name)),
                cure,
            );
        }
    }
}
