//! Names by heritage, so that given name, family name, race and language fit together,
//! and the short names that people go by. Words stand in one string, parted by blanks.

use std::sync::LazyLock;

/// Names and background that go together.
#[derive(Debug)]
pub(crate) struct Heritage {
    /// Its share of the population, per mille.
    pub(crate) share: u64,
    pub(crate) families: Vec<&'static str>,
    /// Names given to women and men born before 1998.
    pub(crate) female: Vec<&'static str>,
    pub(crate) male: Vec<&'static str>,
    /// Names given to girls and boys since.
    pub(crate) girls: Vec<&'static str>,
    pub(crate) boys: Vec<&'static str>,
    /// OMB race categories (CDC race and ethnicity code, display), weighted by repetition.
    pub(crate) races: &'static [(&'static str, &'static str)],
    pub(crate) hispanic: bool,
    /// A language spoken at home besides English: BCP 47 code and display.
    pub(crate) language: Option<(&'static str, &'static str)>,
}

const WHITE: (&str, &str) = ("2106-3", "White");
const BLACK: (&str, &str) = ("2054-5", "Black or African American");
const ASIAN: (&str, &str) = ("2028-9", "Asian");
const NATIVE: (&str, &str) = ("1002-5", "American Indian or Alaska Native");
const PACIFIC: (&str, &str) = ("2076-8", "Native Hawaiian or Other Pacific Islander");

/// One row: share, families, women, men, girls, boys, races, Hispanic, language.
type Row = (
    u64,
    [&'static str; 5],
    &'static [(&'static str, &'static str)],
    bool,
    Option<(&'static str, &'static str)>,
);

const ROWS: &[Row] = &[
    // English and Irish
    (
        560,
        [
            "Abbott Adair Aldridge Ames Archer Ashby Atwood Bagley Bancroft Barlow Beckett \
             Bellamy Benson Blackwell Blake Boone Bowers Bradford Brennan Brewster Briggs \
             Bryant Burke Caldwell Calhoun Carver Chandler Clayton Coleman Conway Crawford \
             Cullen Dalton Daugherty Dawson Delaney Drake Dunbar Eastman Ellison Emerson \
             Everett Fairchild Farrell Finch Fitzgerald Fletcher Forsythe Fowler Gallagher \
             Garrison Gentry Gilmore Goodwin Graves Grimes Hadley Hale Hammond Hanley Harmon \
             Hartley Hayward Holloway Hobbs Hutchins Ingram Jarvis Keane Kendrick Kilgore \
             Lambert Langley Larkin Lockhart Lowry Mackey Maddox Marlowe Mercer Merritt Monroe \
             Mulligan Nash Norwood Oakley O'Brien O'Connell Osborne Paxton Pemberton Pierce \
             Preston Quigley Radcliffe Ramsey Redmond Rhodes Rowland Sawyer Sheridan Sinclair \
             Slater Stafford Stanton Sutton Tate Thornton Tilden Townsend Underwood Vance \
             Waddell Walton Weaver Whitaker Wilder Winslow Woodard Yates",
            "Abigail Adele Alice Amanda Amelia Andrea Annette Audrey Beatrice Bethany Brenda \
             Bridget Caroline Cassandra Charlotte Christine Claire Constance Cora Dana Deborah \
             Diane Dorothy Edith Eleanor Elise Emily Esther Evelyn Fiona Frances Gail Gloria \
             Grace Hannah Harriet Hazel Helen Holly Irene Ivy Jacqueline Janet Joanna Josephine \
             Judith Julia Karen Katherine Kimberly Laura Lillian Lorraine Lucy Margaret Marian \
             Martha Megan Melissa Mildred Molly Nancy Naomi Natalie Nora Olive Pamela Patricia \
             Paula Phyllis Rachel Rebecca Rosemary Ruth Sandra Sharon Stella Susan Sylvia \
             Tabitha Theresa Valerie Vera Victoria Virginia Wendy Winifred",
            "Aaron Adam Albert Alexander Andrew Arthur Barry Benjamin Bradley Brian Calvin Carl \
             Charles Christopher Clifford Craig Curtis Daniel David Dean Dennis Douglas Edgar \
             Edward Elliot Eric Ethan Eugene Evan Francis Frederick Gareth George Gerald \
             Gilbert Glenn Gordon Graham Harold Harvey Henry Howard Hugh Ian Isaac Jack Jacob \
             James Jeffrey Joel Jonathan Joseph Keith Kenneth Kevin Lawrence Leonard Lewis \
             Louis Malcolm Martin Matthew Maurice Michael Nathan Neil Nicholas Oliver Oscar \
             Owen Patrick Paul Peter Philip Ralph Raymond Richard Robert Roger Samuel Scott \
             Sean Simon Stanley Stephen Theodore Thomas Timothy Vernon Victor Walter Warren \
             William",
            "Addison Ava Avery Bailey Brooke Chloe Ella Emma Harper Hailey Isabella Kayla \
             Kennedy Layla Lily Madison Mackenzie Mia Olivia Paige Peyton Piper Quinn Riley \
             Savannah Skylar Sophia Taylor Zoe",
            "Aiden Asher Austin Blake Brayden Caleb Carter Chase Cole Connor Dylan Gavin Hudson \
             Hunter Jackson Jayden Landon Levi Liam Logan Lucas Mason Miles Noah Owen Parker \
             Tyler Wyatt Zachary",
        ],
        &[WHITE, WHITE, WHITE, WHITE, WHITE, WHITE, WHITE, BLACK, NATIVE],
        false,
        None,
    ),
    // African and Caribbean
    (
        130,
        [
            "Banks Battle Booker Bridges Broadnax Byrd Cager Chatman Claiborne Cobb Desir \
             Dorsey Fontenot Gadson Glover Hairston Jeffries Kinard Lyles Mosley Okafor Owusu \
             Pettway Pinckney Poindexter Ravenell Singletary Smalls Tolliver Toussaint Vaughn \
             Washington Whitlow Witherspoon Adeyemi Mensah",
            "Alicia Angela Bernice Camille Carla Chandra Deja Denise Ebony Gwendolyn Imani \
             Jasmine Keisha Latoya Lavinia Loretta Monique Nia Octavia Portia Renee Shanice \
             Simone Tamika Tanisha Vanessa Yolanda Zora",
            "Alonzo Andre Antoine Cedric Clarence Cornell Darius Darnell Demetrius Desmond \
             Dwayne Elijah Isaiah Jamal Jerome Kwame Lamont Leroy Malik Marcus Maurice Otis \
             Reginald Rodney Terrence Tyrone Wendell Xavier",
            "Aaliyah Amari Amira Ariana Brielle Destiny Gabrielle Janiya Jada Kamiyah Kiara \
             Laila Makayla Nevaeh Nyla Raven Serenity Skye Trinity Zaria",
            "Ameer Cameron Donovan Elias Isaac Jaden Jalen Jaylen Josiah Kareem Khalil Khari \
             Micah Nasir Omari Quincy Tariq Trevon Xavion Zion",
        ],
        &[BLACK],
        false,
        None,
    ),
    // Latin American
    (
        180,
        [
            "Acosta Aguilar Alvarado Arroyo Barrios Benavides Bustamante Calderón Camacho \
             Cardona Castañeda Cervantes Cordero Delgado Escobar Espinoza Figueroa Fuentes \
             Galindo Garza Guzmán Herrera Ibarra Jiménez Lozano Maldonado Marroquín Medina \
             Montoya Muñoz Navarro Ochoa Ortega Pacheco Quintero Rentería Rosario Salazar \
             Santiago Sepúlveda Solís Tejada Trujillo Valdez Villarreal Zamora",
            "Adriana Alejandra Ana Beatriz Carmen Catalina Claudia Consuelo Daniela Dolores \
             Elena Esperanza Gabriela Graciela Guadalupe Isabel Josefina Leticia Lucía Luz \
             Marisol Mercedes Paloma Pilar Raquel Rocío Rosa Sofía Teresa Verónica Ximena",
            "Alejandro Alfonso Andrés Armando Arturo Carlos César Diego Eduardo Emilio Enrique \
             Esteban Felipe Fernando Francisco Guillermo Héctor Ignacio Javier Joaquín Jorge \
             José Julio Leonardo Luis Manuel Mateo Miguel Rafael Ramón Ricardo Roberto Rodrigo \
             Santiago Sergio Tomás",
            "Abril Camila Emilia Fernanda Itzel Jimena Lola Luciana Mariana Mía Natalia Paola \
             Regina Renata Salma Valentina Valeria Victoria Yaretzi Zoe",
            "Adrián Ángel Bruno Dante Damián Emiliano Gael Iker Iván Kevin Leonel Leo Lucas \
             Matías Maximiliano Nicolás Óscar Santino Sebastián Thiago",
        ],
        &[WHITE, WHITE, WHITE, BLACK, NATIVE],
        true,
        Some(("es", "Spanish")),
    ),
    // Chinese
    (
        18,
        [
            "Chang Chen Cheung Fong Huang Lam Liang Shen Tsai Xu Yang Zhao Zhou",
            "Amy Christina Grace Hui Jenny Lan Linda Mei Michelle Ming Tina Vivian Xin Yan",
            "Alan Calvin Eddie Feng Hai Hao Henry Jason Jun Kevin Lei Long Raymond Wei Yong",
            "Audrey Chloe Emily Iris Jasmine Olivia Sophie",
            "Aaron Brandon Derek Ethan Felix Lucas Ryan",
        ],
        &[ASIAN],
        false,
        Some(("zh", "Chinese")),
    ),
    // Vietnamese
    (
        14,
        [
            "Bui Dang Hoang Huynh Luong Ngo Nguyen Pham Tran Truong",
            "Ai Bao Christina Lan Linda Mai Phuong Thuy Tina Vivian",
            "Anh Bin Duc Kevin Long Minh Quan Tuan",
            "Kim Lily Jenny Ashley Emily",
            "Andy Brian Danny Tommy Vincent",
        ],
        &[ASIAN],
        false,
        Some(("vi", "Vietnamese")),
    ),
    // Korean and Japanese
    (
        13,
        [
            "Choi Han Kang Kwon Lim Nakamura Park Seo Tanaka Watanabe Yamada Yoon",
            "Eun-ji Grace Hana Jenny Ji-woo Michelle Naoko Soo-jin Yuki",
            "Akira Alan Hiro Kenji Min-ho Sung Eddie Henry",
            "Emi Hannah Rina Sarah Yuna",
            "Daniel Joon Ken Ryan Sho",
        ],
        &[ASIAN],
        false,
        Some(("ko", "Korean")),
    ),
    // South Asian
    (
        40,
        [
            "Agarwal Ahmed Banerjee Bhatt Chaudhry Chopra Desai Dutta Ghosh Gupta Hussain Iyer \
             Joshi Kapoor Khanna Kulkarni Malhotra Mehta Menon Mukherjee Nair Pandey Patel \
             Pillai Qureshi Rao Reddy Saxena Sharma Siddiqui Thakur Varma",
            "Aarti Aisha Ananya Anjali Asha Deepa Divya Fatima Indira Kavita Lakshmi Leela \
             Meera Nadia Neha Nisha Pooja Priya Radha Rani Rekha Sana Shreya Sunita Usha",
            "Aditya Ajay Amit Anil Arjun Ashok Bilal Deepak Farhan Gaurav Hari Imran Karan \
             Kiran Manish Mohan Naveen Nikhil Pradeep Rahul Rajesh Ravi Rohan Sanjay Sunil \
             Tariq Vikram",
            "Aanya Diya Isha Kiara Maya Myra Riya Saanvi Tara Zara",
            "Aarav Aryan Dev Ishaan Kabir Krish Neel Rishi Veer Zain",
        ],
        &[ASIAN],
        false,
        Some(("hi", "Hindi")),
    ),
    // Slavic and Hungarian
    (
        30,
        [
            "Antonov Baranski Bielski Dimitrov Dragan Gorski Horvat Ivanova Jankowski Kaminski \
             Kovač Kowalczyk Lazar Marković Nowak Novotny Orlov Petrenko Popescu Sokolov Szabo \
             Wójcik Zielinski",
            "Agnieszka Alina Anastasia Daria Ewa Halina Ilona Irina Katarina Ksenia Ludmila \
             Magda Milena Nadezhda Olga Oksana Petra Svetlana Tatiana Zofia",
            "Alexei Andrzej Anton Bogdan Boris Damir Dmitri Goran Igor Ivan Janusz Jiří Kazimir \
             Konstantin Krzysztof Marek Mikhail Nikola Oleg Pavel Sergei Stefan Tomasz Viktor \
             Zoltan",
            "Anna Emma Eva Julia Maya Mila Nina Sofia",
            "Adam Alex Dominik Filip Jakub Max Nikita Roman",
        ],
        &[WHITE],
        false,
        Some(("ru", "Russian")),
    ),
    // Native American and Pacific
    (
        15,
        [
            "Begay Benally Kahale Kalani Kealoha Mahoe Tsosie Yazzie Nez Whitehorse Tallchief \
             Leota Faleolo Tuiasosopo",
            "Ailani Chenoa Iolana Kaya Leilani Malia Noelani Winona",
            "Ahanu Keanu Keoni Koa Lono Makoa Nashoba Tala",
            "Aiyana Alana Kiele Nizhoni",
            "Kai Koda Mikah Nalu",
        ],
        &[NATIVE, PACIFIC],
        false,
        None,
    ),
];

/// The heritages.
pub(crate) static HERITAGES: LazyLock<Vec<Heritage>> = LazyLock::new(|| {
    let words = |text: &'static str| text.split_whitespace().collect::<Vec<_>>();
    ROWS.iter()
        .map(|(share, [families, female, male, girls, boys], races, hispanic, language)| Heritage {
            share: *share,
            families: words(families),
            female: words(female),
            male: words(male),
            girls: words(girls),
            boys: words(boys),
            races,
            hispanic: *hispanic,
            language: *language,
        })
        .collect()
});

/// Short names: given name, what friends call them.
const SHORT: &str = "Abigail:Abby Amanda:Mandy Beatrice:Bea Brenda:Bren Cassandra:Cassie \
    Caroline:Carrie Charlotte:Lottie Christine:Chris Deborah:Debbie Dorothy:Dot Eleanor:Nell \
    Elise:Ellie Emily:Em Evelyn:Evie Frances:Fran Gwendolyn:Gwen Jacqueline:Jackie Janet:Jan \
    Josephine:Jo Judith:Judy Katherine:Kathy Kimberly:Kim Lillian:Lil Lorraine:Lori \
    Margaret:Peggy Martha:Marty Melissa:Missy Mildred:Millie Nancy:Nan Natalie:Nat Pamela:Pam \
    Patricia:Patty Rachel:Rae Rebecca:Becky Rosemary:Rosie Sandra:Sandy Susan:Sue \
    Tabitha:Tabby Theresa:Terry Valerie:Val Victoria:Vicky Virginia:Ginny Winifred:Winnie \
    Albert:Al Alexander:Alex Andrew:Drew Arthur:Art Benjamin:Ben Bradley:Brad Charles:Chuck \
    Christopher:Chris Clifford:Cliff Daniel:Dan David:Dave Dennis:Denny Douglas:Doug \
    Edward:Ted Eugene:Gene Francis:Frank Frederick:Fred Gerald:Gerry Gilbert:Gil Harold:Hal \
    Henry:Hank Jacob:Jake James:Jim Jeffrey:Jeff Jonathan:Jon Joseph:Joe Kenneth:Ken \
    Lawrence:Larry Leonard:Len Matthew:Matt Michael:Mike Nathan:Nate Nicholas:Nick Oliver:Ollie \
    Patrick:Pat Philip:Phil Raymond:Ray Richard:Dick Robert:Bob Samuel:Sam Stanley:Stan \
    Stephen:Steve Theodore:Theo Thomas:Tom Timothy:Tim Victor:Vic Vernon:Vern Walter:Walt \
    William:Bill Alejandra:Ale Guadalupe:Lupe Graciela:Chela Mercedes:Meche Dolores:Lola \
    Consuelo:Chelo Francisco:Pancho Guillermo:Memo Eduardo:Lalo Enrique:Kike Ignacio:Nacho \
    Fernando:Nando Alejandro:Alex Manuel:Manny Ricardo:Rico Roberto:Beto Jackson:Jax \
    Isabella:Izzy Madison:Maddie Olivia:Liv Sebastián:Seb Maximiliano:Max Zachary:Zach \
    Reginald:Reggie Terrence:Terry Demetrius:Meech Lavinia:Vinnie Yolanda:Yoli Anastasia:Nastya \
    Konstantin:Kostya Svetlana:Sveta Mikhail:Misha Aditya:Adi Vikram:Vik";

static NICKNAMES: LazyLock<Vec<(&'static str, &'static str)>> = LazyLock::new(|| {
    let mut all: Vec<_> = SHORT.split_whitespace().filter_map(|p| p.split_once(':')).collect();
    all.sort_unstable();
    all
});

/// What someone of a given name is called among friends, when that is shorter.
pub(crate) fn nickname(given: &str) -> Option<&'static str> {
    let at = NICKNAMES.binary_search_by(|(long, _)| (*long).cmp(given)).ok()?;
    NICKNAMES.get(at).map(|(_, short)| *short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_heritage_has_names_of_every_sort() {
        assert_eq!(HERITAGES.iter().map(|h| h.share).sum::<u64>(), 1000);
        for h in HERITAGES.iter() {
            for list in [&h.families, &h.female, &h.male, &h.girls, &h.boys] {
                assert!(list.len() >= 4, "{list:?}");
            }
            assert!(!h.races.is_empty());
        }
    }

    #[test]
    fn short_names_are_found() {
        assert_eq!(nickname("Robert"), Some("Bob"));
        assert_eq!(nickname("Ann"), None);
    }
}
