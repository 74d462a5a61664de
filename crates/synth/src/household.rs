//! Who lives with whom. Patients come in blocks of twelve that are parted into
//! households, so that any one patient can be made without those of other blocks.

use crate::catalog::name::Heritage;
use crate::day::{Day, TODAY};
use crate::dice::Dice;
use crate::directory::{DISTRICT, District, Home, Worker, given, heritage};

/// Patients of one block of households.
pub(crate) const BLOCK: u32 = 12;

/// A place in a household.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Head,
    Partner,
    Child,
    /// A parent of the head.
    Elder,
    /// Shares the address and nothing else.
    Mate,
}

/// One member of a household.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The patient's number in the world.
    pub(crate) index: u32,
    pub(crate) place: Place,
    pub(crate) heritage: &'static Heritage,
    pub(crate) female: bool,
    pub(crate) birth: Day,
    pub(crate) given: &'static str,
    pub(crate) middle: &'static str,
    pub(crate) family: String,
    /// The family name at birth, when it was another.
    pub(crate) maiden: Option<String>,
    /// Whether the partner of the head is, or the head's partner, this one's spouse.
    pub(crate) married: bool,
    /// Which member of the staff this is.
    pub(crate) worker: Option<usize>,
    pub(crate) mobile: String,
}

impl Member {
    /// The age in whole years on a day.
    pub(crate) fn age(&self, on: Day) -> i64 {
        self.birth.years_to(on)
    }

    /// Given and family name.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.given, self.family)
    }
}

/// People at one address.
#[derive(Clone, Debug)]
pub(crate) struct Household {
    pub(crate) members: Vec<Member>,
    pub(crate) home: Home,
    /// Index into the payers, for those whom neither age nor poverty insures; none when
    /// nobody does.
    pub(crate) payer: Option<usize>,
    pub(crate) member_number: String,
}

/// What sort of household.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Single,
    Couple,
    Family,
    OneParent,
    ThreeGenerations,
    Mates,
}

/// The households of the block that a patient belongs to.
pub(crate) fn block(seed: u64, number: u32, district: &District) -> Vec<Household> {
    let mut dice = Dice::new(seed, "block", u64::from(number));
    let mut at = number * BLOCK;
    let end = at + BLOCK;
    let mut all: Vec<Household> = Vec::new();
    while at < end {
        let left = end - at;
        let ordinal = all.len();
        let household = Draw { dice: &mut dice, district, number, ordinal }.household(at, left);
        at += household.members.len() as u32;
        all.push(household);
    }
    all
}

/// One household being drawn.
struct Draw<'a> {
    dice: &'a mut Dice,
    district: &'a District,
    /// The block, and the household's place in it.
    number: u32,
    ordinal: usize,
}

impl Draw<'_> {
    /// The worker who heads this household: every second block has one, each worker is
    /// one patient at most.
    fn worker(&self) -> Option<usize> {
        let of_district = self.number % (DISTRICT / BLOCK);
        let at = (of_district / 2) as usize;
        (self.ordinal == 1 && of_district.is_multiple_of(2) && at < self.district.workers.len())
            .then_some(at)
    }

    fn household(mut self, first: u32, left: u32) -> Household {
        let district = self.district;
        let place = self.worker();
        let worker = place.and_then(|at| district.workers.get(at));
        let mut sort = match self.dice.weighted(&[300, 250, 300, 80, 30, 40]) {
            0 => Sort::Single,
            1 => Sort::Couple,
            2 => Sort::Family,
            3 => Sort::OneParent,
            4 => Sort::ThreeGenerations,
            _ => Sort::Mates,
        };
        let least = match sort {
            Sort::Single => 1,
            Sort::Family => 3,
            Sort::ThreeGenerations => 4,
            _ => 2,
        };
        // The first patient lives with a partner, so that there are relatives to speak of.
        if first == 0 {
            sort = Sort::Couple;
        } else if left < least {
            sort = if left == 1 { Sort::Single } else { Sort::Couple };
        }
        let age = match (worker, first, sort) {
            (Some(w), ..) => w.birth.years_to(TODAY),
            (_, 0, _) => self.dice.between(50, 63),
            // The first household of every block holds someone specially protected.
            _ if self.ordinal == 0 => self.dice.between(26, 58),
            (_, _, Sort::Single) => match self.dice.weighted(&[38, 22, 40]) {
                0 => self.dice.between(20, 39),
                1 => self.dice.between(40, 62),
                _ => self.dice.between(63, 93),
            },
            (_, _, Sort::Couple) => match self.dice.weighted(&[25, 75]) {
                0 => self.dice.between(22, 39),
                _ => self.dice.between(48, 86),
            },
            (_, _, Sort::Mates) => self.dice.between(19, 34),
            _ => self.dice.between(26, 52),
        };
        let home = match worker {
            Some(w) => w.home.clone(),
            None => Home::draw(self.district.region, self.dice),
        };
        let mut members = vec![self.head(first, age, worker, place)];
        if matches!(sort, Sort::Couple | Sort::Family | Sort::ThreeGenerations) {
            let partner = self.partner(&mut members, first + 1);
            members.push(partner);
        }
        let room = left as i64 - members.len() as i64;
        let children = match sort {
            Sort::Family | Sort::ThreeGenerations => {
                let room = if sort == Sort::ThreeGenerations { room - 1 } else { room };
                (1 + self.dice.weighted(&[38, 38, 17, 7]) as i64).min(room)
            }
            Sort::OneParent => (1 + self.dice.weighted(&[55, 33, 12]) as i64).min(room),
            _ => 0,
        };
        self.children(&mut members, first, children);
        match sort {
            Sort::ThreeGenerations => {
                let elder = self.elder(&members, first);
                members.push(elder);
            }
            Sort::Mates => {
                let count = (1 + self.dice.below(2) as i64).min(room);
                for _ in 0..count {
                    let age = self.dice.between(19, 34);
                    let mut mate = self.head(first + members.len() as u32, age, None, None);
                    mate.place = Place::Mate;
                    members.push(mate);
                }
            }
            _ => {}
        }
        let payer = match self.dice.weighted(&[16, 77, 7]) {
            0 => Some(crate::catalog::place::MEDICAID),
            1 => Some(self.dice.between(2, 6) as usize),
            _ => None,
        };
        // The health system insures its own.
        let payer = if worker.is_some() { Some(4) } else { payer };
        let member_number = self.dice.digits(9);
        Household { members, home, payer: if first == 0 { Some(2) } else { payer }, member_number }
    }

    fn born(&mut self, age: i64) -> Day {
        TODAY.plus(-(age * 36525 / 100) - self.dice.between(1, 364))
    }

    fn mobile(&mut self) -> String {
        let towns = self.district.region.towns.len() as u64;
        let at = self.dice.below(towns) as usize;
        let town = crate::directory::town_of(self.district.region, at);
        crate::directory::phone(self.dice, town)
    }

    fn head(
        &mut self,
        index: u32,
        age: i64,
        worker: Option<&Worker>,
        place: Option<usize>,
    ) -> Member {
        let mobile = self.mobile();
        if let Some(w) = worker {
            let middle = given(w.heritage, w.female, w.birth, self.dice);
            return Member {
                index,
                place: Place::Head,
                heritage: w.heritage,
                female: w.female,
                birth: w.birth,
                given: w.given,
                middle,
                family: w.family.to_owned(),
                maiden: None,
                married: false,
                worker: place,
                mobile: w.home.phone.clone(),
            };
        }
        let heritage = heritage(self.dice);
        let female = self.dice.chance(510);
        let birth = self.born(age);
        let given_name = given(heritage, female, birth, self.dice);
        let middle = other(heritage, female, birth, given_name, self.dice);
        let mut family = self.dice.pick::<&str>(&heritage.families).to_string();
        if heritage.hispanic && self.dice.chance(150) {
            family = format!("{family} {}", self.dice.pick::<&str>(&heritage.families));
        }
        Member {
            index,
            place: Place::Head,
            heritage,
            female,
            birth,
            given: given_name,
            middle,
            family,
            maiden: None,
            married: false,
            worker: None,
            mobile,
        }
    }

    /// The head's partner, who may bear another name.
    fn partner(&mut self, members: &mut [Member], index: u32) -> Member {
        let mut partner = self.head(index, 30, None, None);
        let Some(head) = members.first_mut() else { return partner };
        partner.place = Place::Partner;
        partner.female = head.female ^ !self.dice.chance(40);
        if self.dice.chance(850) {
            partner.heritage = head.heritage;
        }
        partner.birth = head.birth.plus(self.dice.between(-2100, 2100)).min(TODAY.plus(-20 * 366));
        partner.given = given(partner.heritage, partner.female, partner.birth, self.dice);
        partner.middle =
            other(partner.heritage, partner.female, partner.birth, partner.given, self.dice);
        let own = self.dice.pick::<&str>(&partner.heritage.families).to_string();
        let married = self.dice.chance(if partner.age(TODAY) > 35 { 880 } else { 600 });
        (head.married, partner.married) = (married, married);
        let (name, maiden) = match (married, self.dice.below(100)) {
            (true, 0..=64) => (head.family.clone(), Some(own.clone())),
            (true, 65..=74) => (format!("{own}-{}", head.family), Some(own.clone())),
            _ => (own.clone(), None),
        };
        // It is the wife, more often, who changes hers.
        if maiden.is_some() && !partner.female && head.female && head.worker.is_none() {
            head.maiden = Some(std::mem::replace(&mut head.family, own.clone()));
            (partner.family, partner.maiden) = (own, None);
        } else {
            (partner.family, partner.maiden) = (name, maiden.filter(|m| *m != head.family));
        }
        partner
    }

    fn children(&mut self, members: &mut Vec<Member>, first: u32, count: i64) {
        let parents: Vec<Member> =
            members.iter().filter(|m| m.place != Place::Mate).cloned().collect();
        let Some(head) = parents.first() else { return };
        let mother = parents.iter().filter(|m| m.female).map(|m| m.birth).max();
        let youngest = parents.iter().map(|m| m.birth).max().unwrap_or(head.birth);
        let of_age = youngest.years_to(TODAY) - 19;
        // A mother is at most 43 at a birth.
        let least = mother.map_or(0, |birth| (birth.years_to(TODAY) - 43).max(0));
        // Children bear the father's name, one name, or both.
        let partner = parents.get(1);
        let family = match partner {
            Some(p) if p.family != head.family => match self.dice.below(10) {
                0..=4 => (if head.female { p } else { head }).family.clone(),
                5..=7 => (if head.female { head } else { p }).family.clone(),
                _ => format!("{}-{}", head.family, p.family),
            },
            // The other parent lives elsewhere.
            None if self.dice.chance(450) => {
                self.dice.pick::<&str>(&head.heritage.families).to_string()
            }
            _ => head.family.clone(),
        };
        let most = of_age.clamp(0, 21);
        let mut age = self.dice.between(least.min(most), most.min(least + 12));
        for _ in 0..count {
            let index = first + members.len() as u32;
            let mut child = self.head(index, age, None, None);
            child.place = Place::Child;
            child.heritage = head.heritage;
            // None is younger than a fortnight.
            child.birth = child.birth.min(TODAY.plus(-14));
            child.female = self.dice.chance(490);
            child.given = given(child.heritage, child.female, child.birth, self.dice);
            while members.iter().any(|m| m.given == child.given) {
                child.given = given(child.heritage, child.female, child.birth, self.dice);
            }
            child.middle = other(child.heritage, child.female, child.birth, child.given, self.dice);
            child.family.clone_from(&family);
            members.push(child);
            age -= self.dice.between(2, 4);
            if age < least {
                break;
            }
        }
    }

    fn elder(&mut self, members: &[Member], first: u32) -> Member {
        let index = first + members.len() as u32;
        let head_age = members.first().map_or(40, |h| h.age(TODAY));
        let age = (head_age + self.dice.between(23, 33)).min(95);
        let mut elder = self.head(index, age, None, None);
        if let Some(head) = members.first() {
            elder.place = Place::Elder;
            elder.heritage = head.heritage;
            elder.given = given(elder.heritage, elder.female, elder.birth, self.dice);
            elder.middle = other(elder.heritage, elder.female, elder.birth, elder.given, self.dice);
            elder.family = head.maiden.clone().unwrap_or_else(|| head.family.clone());
        }
        elder
    }
}

/// A name of the same sort that is another one.
fn other(
    heritage: &'static Heritage,
    female: bool,
    birth: Day,
    not: &str,
    dice: &mut Dice,
) -> &'static str {
    loop {
        let name = given(heritage, female, birth, dice);
        if name != not {
            return name;
        }
    }
}
