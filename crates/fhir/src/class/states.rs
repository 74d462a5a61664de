//! The class map compiled: for every place that JSON can reach, what each member is.

use std::collections::HashMap;

use phial_base::{ClassSet, DataClass};

use crate::definitions::{ResourceType, TypeId, TypeKind};

/// The text of the map; its head explains the lines.
const MAP: &str = include_str!("map.txt");

/// What governs the elements under a place, beside path rules.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Mode {
    /// Data types have their defaults.
    Open,
    /// Nothing here is about a patient: no defaults.
    Public,
    /// Inside a data type that is of one class whatever it holds.
    Sealed,
}

/// A member of an object at some place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Child {
    /// The class, where nothing within says otherwise.
    pub(crate) class: DataClass,
    /// What is within.
    pub(crate) within: Within,
}

/// What a member holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Within {
    /// A primitive value. Its `_name` twin holds what the state says.
    Primitive(StateId),
    /// Objects of a data type or backbone.
    Object(StateId),
    /// Identifiers: the second state is for those issued by a government.
    Identifier(StateId, StateId),
    /// Extensions, each known by its url or not at all.
    Extension,
    /// Whole resources.
    Resource,
}

/// A place: a type under a class and a mode.
pub(crate) type StateId = u16;

struct State {
    /// Sorted by name.
    children: Vec<(&'static str, Child)>,
}

/// All places, reached from the resource types.
pub(crate) struct States {
    states: Vec<State>,
    roots: Vec<StateId>,
    extensions: HashMap<&'static str, DataClass>,
    possible: Vec<ClassSet>,
    /// Paths that no line of the map speaks of. Empty, or a test fails; they are notes.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test reads it"))]
    pub(crate) unclassified: Vec<String>,
    /// Lines that say something about nothing. Empty, or a test fails.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test reads it"))]
    pub(crate) idle: Vec<String>,
}

impl States {
    /// The place of a resource of type `ty`.
    pub(crate) fn root(&self, ty: ResourceType) -> StateId {
        self.roots.get(usize::from(ty.number())).copied().unwrap_or_default()
    }

    /// What the member `name` is at a place. `None` for a name no element has.
    pub(crate) fn child(&self, state: StateId, name: &str) -> Option<Child> {
        let children = &self.states.get(usize::from(state))?.children;
        let at = children.binary_search_by(|(n, _)| (*n).cmp(name)).ok()?;
        children.get(at).map(|(_, c)| *c)
    }

    /// The class of an extension by its url: notes unless the map knows it.
    pub(crate) fn extension(&self, url: &str) -> DataClass {
        self.extensions.get(url).copied().unwrap_or(DataClass::Notes)
    }

    /// Every class that an extension can have.
    pub(crate) fn extension_classes(&self) -> ClassSet {
        let known = self.extensions.values();
        known.fold(ClassSet::of(DataClass::Notes), |set, class| set.with(*class))
    }

    /// Every class that an element of the type itself can have.
    pub(crate) fn possible(&self, ty: ResourceType) -> ClassSet {
        self.possible.get(usize::from(ty.number())).copied().unwrap_or(ClassSet::ALL)
    }

    /// Every class that can be found under a child, itself included.
    pub(crate) fn under(&self, child: Child) -> ClassSet {
        let mut seen = vec![false; self.states.len()];
        self.collect(child, true, &mut seen)
    }

    /// The same, where identifiers are known to be none of a government's.
    pub(crate) fn under_plain(&self, child: Child) -> ClassSet {
        let mut seen = vec![false; self.states.len()];
        self.collect(child, false, &mut seen)
    }

    fn collect(&self, child: Child, any: bool, seen: &mut [bool]) -> ClassSet {
        let mut set = ClassSet::NONE;
        let mut states: Vec<StateId> = Vec::new();
        match child.within {
            Within::Primitive(_) => set = set.with(child.class),
            Within::Object(s) => states.push(s),
            Within::Identifier(plain, government) => {
                set = set.with(child.class);
                states.push(plain);
                if any {
                    set = set.with(DataClass::GovernmentIdentifier);
                    states.push(government);
                }
            }
            Within::Extension | Within::Resource => {}
        }
        for s in states {
            set = set.or(self.reach(s, any, seen));
        }
        set
    }

    fn reach(&self, state: StateId, any: bool, seen: &mut [bool]) -> ClassSet {
        match seen.get_mut(usize::from(state)) {
            Some(flag) if !*flag => *flag = true,
            _ => return ClassSet::NONE,
        }
        let mut set = ClassSet::NONE;
        for (_, child) in self.states.get(usize::from(state)).iter().flat_map(|s| &s.children) {
            set = set.or(self.collect(*child, any, seen));
        }
        set
    }
}

#[derive(Clone, Copy)]
struct Rule {
    class: DataClass,
    public: bool,
}

#[derive(Default)]
struct Rules {
    common: HashMap<&'static str, DataClass>,
    always: HashMap<&'static str, DataClass>,
    default: HashMap<&'static str, DataClass>,
    /// By the type that the element stands in and the element's or member's name.
    paths: HashMap<(TypeId, &'static str), Rule>,
    extensions: HashMap<&'static str, DataClass>,
    idle: Vec<String>,
}

impl Rules {
    fn read(text: &'static str) -> Rules {
        let mut rules = Rules::default();
        for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let mut words = line.split(' ').filter(|w| !w.is_empty());
            let (Some(first), Some(second)) = (words.next(), words.next()) else { continue };
            let rest = words;
            match first {
                "common" => rules.each(second, rest, |r, c, name| {
                    r.common.insert(name, c.class);
                }),
                "extension" => rules.each(second, rest, |r, c, url| {
                    r.extensions.insert(url, c.class);
                }),
                "always" => rules.each_type(second, rest, |r| &mut r.always),
                "default" => rules.each_type(second, rest, |r| &mut r.default),
                "within" => {
                    let mut rest = rest;
                    let class = rest.next().unwrap_or_default();
                    rules.each(class, rest, |r, c, path| r.path(second, c, path));
                }
                ty => rules.each(second, rest, |r, c, path| r.path(ty, c, path)),
            }
        }
        rules
    }

    fn each(
        &mut self,
        class: &'static str,
        names: impl Iterator<Item = &'static str>,
        mut put: impl FnMut(&mut Rules, Rule, &'static str),
    ) {
        let (name, public) = class.strip_suffix('!').map_or((class, false), |c| (c, true));
        match DataClass::from_name(name) {
            Ok(class) => {
                for n in names {
                    put(self, Rule { class, public }, n);
                }
            }
            Err(_) => self.idle.push(format!("no class {class}")),
        }
    }

    fn each_type(
        &mut self,
        ty: &'static str,
        mut class: impl Iterator<Item = &'static str>,
        table: impl Fn(&mut Rules) -> &mut HashMap<&'static str, DataClass>,
    ) {
        match DataClass::from_name(class.next().unwrap_or_default()) {
            Ok(class) if TypeId::from_name(ty).is_some() => {
                table(self).insert(ty, class);
            }
            _ => self.idle.push(format!("no type {ty}, or no such class")),
        }
    }

    fn path(&mut self, ty: &'static str, rule: Rule, path: &'static str) {
        let mut owner = TypeId::from_name(ty);
        let mut name = path;
        while let (Some((head, tail)), Some(at)) = (name.split_once('.'), owner) {
            owner = at.member(head).map(|m| m.ty);
            name = tail;
        }
        let known = owner.filter(|o| o.member(name).is_some() || o.element(name).is_some());
        match known {
            Some(owner) => {
                if self.paths.insert((owner, name), rule).is_some() {
                    self.idle.push(format!("{ty}.{path} stands twice"));
                }
            }
            None => self.idle.push(format!("{ty}.{path} is no element")),
        }
    }
}

struct Builder {
    rules: Rules,
    states: Vec<State>,
    known: HashMap<(TypeId, Option<DataClass>, Mode), StateId>,
    unclassified: Vec<String>,
}

/// Reads the map and follows it through every type.
pub(crate) fn build() -> States {
    let mut builder = Builder {
        rules: Rules::read(MAP),
        states: Vec::new(),
        known: HashMap::new(),
        unclassified: Vec::new(),
    };
    let roots: Vec<StateId> =
        ResourceType::all().map(|ty| builder.state(ty.type_id(), None, Mode::Open)).collect();
    let mut states = States {
        states: builder.states,
        roots,
        extensions: builder.rules.extensions,
        possible: Vec::new(),
        unclassified: builder.unclassified,
        idle: builder.rules.idle,
    };
    states.possible = ResourceType::all()
        .map(|ty| states.reach(states.root(ty), true, &mut vec![false; states.states.len()]))
        .collect();
    states
}

impl Builder {
    fn state(&mut self, ty: TypeId, class: Option<DataClass>, mode: Mode) -> StateId {
        if let Some(id) = self.known.get(&(ty, class, mode)) {
            return *id;
        }
        let id = StateId::try_from(self.states.len()).unwrap_or(StateId::MAX);
        self.known.insert((ty, class, mode), id);
        // Reserved first: types hold themselves.
        self.states.push(State { children: Vec::new() });
        let mut children = Vec::new();
        for element in ty.elements() {
            for t in element.types {
                let json = json_name(element.name, element.choice, *t);
                let Some(member) = ty.member(&json) else { continue };
                let child = self.child(ty, element.name, member.name, *t, class, mode);
                children.push((member.name, child));
            }
        }
        if ty.resource().is_some() {
            let plain = Within::Primitive(id);
            children
                .push(("resourceType", Child { class: DataClass::Administrative, within: plain }));
        }
        children.sort_by_key(|(n, _)| *n);
        children.dedup_by_key(|(n, _)| *n);
        if let Some(state) = self.states.get_mut(usize::from(id)) {
            state.children = children;
        }
        id
    }

    fn child(
        &mut self,
        owner: TypeId,
        element: &'static str,
        json: &'static str,
        ty: TypeId,
        inherited: Option<DataClass>,
        mode: Mode,
    ) -> Child {
        let extension = ty.name() == "Extension";
        if extension || ty.name() == "Resource" || ty.resource().is_some() {
            let within = if extension { Within::Extension } else { Within::Resource };
            return Child { class: DataClass::Notes, within };
        }
        let rule = if mode == Mode::Sealed {
            None
        } else {
            let paths = &self.rules.paths;
            let at_data_type = !matches!(owner.kind(), TypeKind::Resource | TypeKind::Backbone);
            paths
                .get(&(owner, json))
                .or_else(|| paths.get(&(owner, element)))
                .filter(|_| mode == Mode::Open || !at_data_type)
                .copied()
        };
        let always = |names: &HashMap<&'static str, DataClass>| {
            ty.lineage().find_map(|t| names.get(t.name()).copied())
        };
        let common = owner.resource().and_then(|_| self.rules.common.get(element).copied());
        let sealed = always(&self.rules.always).is_some();
        let (class, mut next) = if mode == Mode::Sealed {
            (inherited, Mode::Sealed)
        } else if let Some(rule) = rule {
            (Some(rule.class), if rule.public { Mode::Public } else { mode })
        } else if let Some(class) = always(&self.rules.always) {
            (Some(class), Mode::Sealed)
        } else if let Some(class) = common {
            (Some(class), mode)
        } else if let Some(class) = always(&self.rules.default).filter(|_| mode == Mode::Open) {
            (Some(class), Mode::Sealed)
        } else {
            (inherited, mode)
        };
        if sealed {
            next = Mode::Sealed;
        }
        let class = class.unwrap_or_else(|| {
            self.unclassified.push(format!("{}.{json}", owner.name()));
            DataClass::Notes
        });
        let within = match ty.kind() {
            TypeKind::Primitive => {
                let twin = TypeId::from_name("Element").unwrap_or(ty);
                Within::Primitive(self.state(twin, Some(class), Mode::Sealed))
            }
            _ if ty.name() == "Identifier" => Within::Identifier(
                self.state(ty, Some(class), Mode::Sealed),
                self.state(ty, Some(DataClass::GovernmentIdentifier), Mode::Sealed),
            ),
            _ => Within::Object(self.state(ty, Some(class), next)),
        };
        Child { class, within }
    }
}

/// The member name of an element when it has type `ty`.
pub(crate) fn json_name(element: &str, choice: bool, ty: TypeId) -> String {
    if !choice {
        return element.to_owned();
    }
    let mut name = element.to_owned();
    let mut rest = ty.name().chars();
    name.extend(rest.next().map(|c| c.to_ascii_uppercase()));
    name.extend(rest);
    name
}
