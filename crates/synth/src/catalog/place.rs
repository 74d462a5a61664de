//! Towns with their postal codes, streets, and the names of houses of care and payers.

/// One town: name, state, first postal code and how many follow it, area code.
#[derive(Debug)]
pub(crate) struct Town {
    pub(crate) city: &'static str,
    pub(crate) county: &'static str,
    pub(crate) zip: u32,
    pub(crate) zips: u32,
    pub(crate) area: &'static str,
}

/// A part of the country that one district of the world lies in.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) state: &'static str,
    /// Hours behind UTC in winter.
    pub(crate) behind: i32,
    pub(crate) name: &'static str,
    /// In ten-thousandths of a degree.
    pub(crate) latitude: i64,
    pub(crate) longitude: i64,
    pub(crate) towns: &'static [Town],
}

const fn town(
    city: &'static str,
    county: &'static str,
    zip: u32,
    zips: u32,
    area: &'static str,
) -> Town {
    Town { city, county, zip, zips, area }
}

pub(crate) const REGIONS: &[Region] = &[
    Region {
        state: "OH",
        behind: 5,
        name: "Maumee Valley",
        latitude: 416500,
        longitude: -835300,
        towns: &[
            town("Toledo", "Lucas", 43604, 12, "419"),
            town("Maumee", "Lucas", 43537, 1, "419"),
            town("Perrysburg", "Wood", 43551, 2, "419"),
            town("Bowling Green", "Wood", 43402, 2, "567"),
            town("Fremont", "Sandusky", 43420, 1, "567"),
            town("Findlay", "Hancock", 45839, 2, "419"),
        ],
    },
    Region {
        state: "MA",
        behind: 5,
        name: "Merrimack",
        latitude: 426400,
        longitude: -713100,
        towns: &[
            town("Lowell", "Middlesex", 1850, 5, "978"),
            town("Lawrence", "Essex", 1840, 4, "978"),
            town("Haverhill", "Essex", 1830, 3, "351"),
            town("Chelmsford", "Middlesex", 1824, 1, "978"),
            town("Methuen", "Essex", 1844, 1, "351"),
        ],
    },
    Region {
        state: "TX",
        behind: 6,
        name: "Brazos",
        latitude: 315500,
        longitude: -971400,
        towns: &[
            town("Waco", "McLennan", 76701, 11, "254"),
            town("Temple", "Bell", 76501, 5, "254"),
            town("Killeen", "Bell", 76541, 9, "254"),
            town("College Station", "Brazos", 77840, 6, "979"),
            town("Bryan", "Brazos", 77801, 8, "979"),
        ],
    },
    Region {
        state: "WA",
        behind: 8,
        name: "Cascade",
        latitude: 476600,
        longitude: -1174300,
        towns: &[
            town("Spokane", "Spokane", 99201, 24, "509"),
            town("Cheney", "Spokane", 99004, 1, "509"),
            town("Yakima", "Yakima", 98901, 8, "509"),
            town("Wenatchee", "Chelan", 98801, 2, "509"),
            town("Ellensburg", "Kittitas", 98926, 1, "509"),
        ],
    },
    Region {
        state: "CO",
        behind: 7,
        name: "Front Range",
        latitude: 404200,
        longitude: -1047100,
        towns: &[
            town("Greeley", "Weld", 80631, 4, "970"),
            town("Loveland", "Larimer", 80537, 2, "970"),
            town("Fort Collins", "Larimer", 80521, 8, "970"),
            town("Longmont", "Boulder", 80501, 4, "303"),
        ],
    },
];

#[rustfmt::skip]
pub(crate) const STREETS: &[&str] = &[
    "Alder", "Amberwood", "Aspen", "Bayberry", "Beacon Hill", "Birchwood", "Bluebell", "Briar",
    "Bridge", "Canal", "Cardinal", "Carriage", "Cedar Ridge", "Chestnut", "Clearview", "Clover",
    "Copperfield", "Cottonwood", "Creekside", "Cypress", "Dogwood", "Eagle Crest", "Edgewater",
    "Elmhurst", "Fairground", "Fern Hollow", "Fieldstone", "Foundry", "Foxglove", "Garnet",
    "Granite", "Harvest", "Hawthorne", "Heron", "Hickory", "Highland", "Hollyhock", "Ironwood",
    "Jasper", "Juniper", "Kingfisher", "Larkspur", "Laurel", "Linden", "Locust", "Magnolia",
    "Maple", "Meadowlark", "Mill", "Mulberry", "Oak Hollow", "Orchard", "Overlook", "Pebble",
    "Pinecrest", "Poplar", "Prairie", "Quarry", "Railroad", "Redbud", "Ridgeway", "Rosewood",
    "Sandstone", "Sawmill", "Spruce", "Stonebridge", "Sumac", "Sycamore", "Thistle", "Timber",
    "Valley View", "Walnut", "Willow Bend", "Windmill", "Wren",
];

pub(crate) const STREET_KINDS: &[&str] =
    &["Street", "Avenue", "Road", "Lane", "Drive", "Court", "Way", "Boulevard", "Place"];

/// A payer: name, v3-ActCode coverage type, its display, source of payment typology
/// code and display, e-mail domain.
pub(crate) struct Payer {
    pub(crate) name: &'static str,
    pub(crate) act: &'static str,
    pub(crate) act_display: &'static str,
    pub(crate) typology: &'static str,
    pub(crate) typology_display: &'static str,
    /// How its member numbers begin.
    pub(crate) prefix: &'static str,
}

const fn payer(
    name: &'static str,
    act: (&'static str, &'static str),
    typology: (&'static str, &'static str),
    prefix: &'static str,
) -> Payer {
    Payer {
        name,
        act: act.0,
        act_display: act.1,
        typology: typology.0,
        typology_display: typology.1,
        prefix,
    }
}

/// The place of Medicare among the payers, and that of Medicaid.
pub(crate) const MEDICARE: usize = 0;
pub(crate) const MEDICAID: usize = 1;
/// The first payer through whom employers insure.
pub(crate) const COMMERCIAL: usize = 2;

const HMO: (&str, &str) = ("HMO", "health maintenance organization policy");
const PPO: (&str, &str) = ("PPO", "preferred provider organization policy");

pub(crate) const PAYERS: &[Payer] = &[
    payer("Medicare", ("RETIRE", "retiree health program"), ("1", "MEDICARE"), "1"),
    payer("Medicaid", ("PUBLICPOL", "public healthcare"), ("2", "MEDICAID"), "7"),
    payer(
        "Fernwood Mutual Health Plan",
        ("EHCPOL", "extended healthcare"),
        ("5", "PRIVATE HEALTH INSURANCE"),
        "FX",
    ),
    payer("Bluestem Health Insurance", HMO, ("511", "Commercial Managed Care - HMO"), "BL"),
    payer("Tidewater Employees Benefit Trust", PPO, ("512", "Commercial Managed Care - PPO"), "TW"),
    payer("Meridian Hills Assurance", PPO, ("512", "Commercial Managed Care - PPO"), "MH"),
    payer("Copper Lantern Health Cooperative", HMO, ("511", "Commercial Managed Care - HMO"), "CL"),
];

/// Businesses that people work for, and what they do there.
#[rustfmt::skip]
pub(crate) const EMPLOYERS: &[(&str, &[&str])] = &[
    ("Harlan & Sons Roofing", &["roofer", "estimator", "office manager"]),
    ("Blue Heron Bakery", &["baker", "counter clerk", "delivery driver"]),
    ("Kessler Tool and Die", &["machinist", "tool maker", "shipping clerk", "welder"]),
    ("Three Rivers School District", &["teacher", "school bus driver", "cafeteria cook", "custodian", "principal"]),
    ("Pinnacle Freight Lines", &["truck driver", "dispatcher", "mechanic"]),
    ("First Lakeshore Bank", &["teller", "loan officer", "branch manager"]),
    ("Goldenrod Grocery", &["cashier", "stocker", "butcher", "shift manager"]),
    ("Ostrander Law Offices", &["paralegal", "attorney", "receptionist"]),
    ("Summit Ridge Construction", &["carpenter", "electrician", "site foreman", "crane operator"]),
    ("Wexford Data Services", &["software developer", "network technician", "project manager"]),
    ("Oakline Furniture", &["upholsterer", "warehouse worker", "sales associate"]),
    ("County Highway Department", &["road worker", "civil engineer", "snowplow driver"]),
    ("Silver Spoon Catering", &["cook", "server", "event planner"]),
    ("Marigold Day Care", &["child care worker", "day care director"]),
    ("Northstar Plumbing", &["plumber", "apprentice plumber", "bookkeeper"]),
    ("Valley Dairy Cooperative", &["dairy farmer", "plant operator", "quality inspector"]),
    ("Crescent Insurance Agency", &["insurance agent", "claims adjuster"]),
    ("Redfern Veterinary Clinic", &["veterinary technician", "receptionist"]),
    ("Paragon Fitness", &["personal trainer", "front desk clerk"]),
    ("Stillwater Public Library", &["librarian", "library page"]),
    ("City Fire Department", &["firefighter", "fire captain"]),
    ("Greenway Landscaping", &["landscaper", "arborist", "crew leader"]),
    ("Hawthorne Hotel", &["housekeeper", "night auditor", "concierge", "chef"]),
    ("Beacon Print Works", &["press operator", "graphic designer"]),
    ("Lakeland Auto Parts", &["parts clerk", "store manager"]),
    ("Amity Senior Living", &["nursing assistant", "activities director", "cook"]),
    ("Community College of the Valley", &["instructor", "registrar", "lab assistant"]),
    ("Sparrow Call Center", &["customer service agent", "team lead"]),
];

/// What people of public interest do.
pub(crate) const PUBLIC: &[&str] = &[
    "mayor",
    "television news anchor",
    "professional hockey player",
    "state senator",
    "recording artist",
];

/// Schools of children.
pub(crate) const SCHOOLS: &[&str] = &[
    "Willow Creek Elementary",
    "Franklin Elementary",
    "Horace Mann Middle School",
    "Eastview Middle School",
    "Central High School",
    "Riverbend High School",
];
