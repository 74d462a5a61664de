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
    /// Its offset from UTC, kept all year round.
    pub(crate) offset: &'static str,
    pub(crate) name: &'static str,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
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
        offset: "-05:00",
        name: "Maumee Valley",
        latitude: 41.65,
        longitude: -83.53,
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
        offset: "-05:00",
        name: "Merrimack",
        latitude: 42.64,
        longitude: -71.31,
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
        offset: "-06:00",
        name: "Brazos",
        latitude: 31.55,
        longitude: -97.14,
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
        offset: "-08:00",
        name: "Cascade",
        latitude: 47.66,
        longitude: -117.43,
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
        offset: "-07:00",
        name: "Front Range",
        latitude: 40.42,
        longitude: -104.71,
        towns: &[
            town("Greeley", "Weld", 80631, 4, "970"),
            town("Loveland", "Larimer", 80537, 2, "970"),
            town("Fort Collins", "Larimer", 80521, 8, "970"),
            town("Longmont", "Boulder", 80501, 4, "303"),
        ],
    },
];

pub(crate) const STREETS: &[&str] = &[
    "Alder",
    "Amberwood",
    "Aspen",
    "Bayberry",
    "Beacon Hill",
    "Birchwood",
    "Bluebell",
    "Briar",
    "Bridge",
    "Canal",
    "Cardinal",
    "Carriage",
    "Cedar Ridge",
    "Chestnut",
    "Clearview",
    "Clover",
    "Copperfield",
    "Cottonwood",
    "Creekside",
    "Cypress",
    "Dogwood",
    "Eagle Crest",
    "Edgewater",
    "Elmhurst",
    "Fairground",
    "Fern Hollow",
    "Fieldstone",
    "Foundry",
    "Foxglove",
    "Garnet",
    "Granite",
    "Harvest",
    "Hawthorne",
    "Heron",
    "Hickory",
    "Highland",
    "Hollyhock",
    "Ironwood",
    "Jasper",
    "Juniper",
    "Kingfisher",
    "Larkspur",
    "Laurel",
    "Linden",
    "Locust",
    "Magnolia",
    "Maple",
    "Meadowlark",
    "Mill",
    "Mulberry",
    "Oak Hollow",
    "Orchard",
    "Overlook",
    "Pebble",
    "Pinecrest",
    "Poplar",
    "Prairie",
    "Quarry",
    "Railroad",
    "Redbud",
    "Ridgeway",
    "Rosewood",
    "Sandstone",
    "Sawmill",
    "Spruce",
    "Stonebridge",
    "Sumac",
    "Sycamore",
    "Thistle",
    "Timber",
    "Valley View",
    "Walnut",
    "Willow Bend",
    "Windmill",
    "Wren",
];

pub(crate) const STREET_KINDS: &[&str] =
    &["Street", "Avenue", "Road", "Lane", "Drive", "Court", "Way", "Boulevard", "Place"];

pub(crate) const CLINICS: &[&str] = &[
    "Riverside Family Clinic",
    "North Quarter Health Center",
    "Lindenfield Primary Care",
    "Old Mill Community Clinic",
];

/// Payers: name, v3-ActCode coverage type, its display, whether it covers the old.
pub(crate) const PAYERS: &[(&str, &str, &str)] = &[
    ("Medicare", "RETIRE", "retiree health program"),
    ("Medicaid", "PUBLICPOL", "public healthcare"),
    ("Fernwood Mutual Health Plan", "EHCPOL", "extended healthcare"),
    ("Bluestem Health Insurance", "HMO", "health maintenance organization policy"),
    ("Tidewater Employees Benefit Trust", "PPO", "preferred provider organization policy"),
];
