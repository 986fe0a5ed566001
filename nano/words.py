"""Words of the pretraining corpus: everyday English, and syllables for names that nobody bears.

The embedded default's companies and metrics are left out on purpose (a test compares the two), so
that fine-tuning on the default has something to teach.
"""

# What is measured, and other ways to ask for it.
MEASURES: dict[str, tuple[str, ...]] = {
    "rainfall": ("precipitation", "amount of rain"),
    "snow depth": ("height of snow", "snow cover"),
    "wind speed": ("strength of the wind", "breeze"),
    "sunshine": ("sunny spells", "clear sky"),
    "temperature": ("warmth", "degrees measured"),
    "air pressure": ("barometer reading", "pressure"),
    "humidity": ("moisture", "dampness"),
    "river level": ("height of the river", "flood gauge"),
    "wheat harvest": ("grain crop", "corn gathered"),
    "milk yield": ("milk given", "dairy output"),
    "egg production": ("eggs laid", "hens laying"),
    "apple crop": ("apples picked", "orchard harvest"),
    "fish catch": ("fish landed", "haul of the boats"),
    "honey yield": ("honey collected", "jars of honey"),
    "sheep flock": ("number of sheep", "lambs and ewes"),
    "timber felled": ("trees cut", "logs taken"),
    "goals scored": ("shots that went in", "goal tally"),
    "matches won": ("victories", "games won"),
    "season tickets": ("subscribers", "passes issued"),
    "spectators": ("crowd", "people watching"),
    "lap record": ("fastest lap", "best round"),
    "medals": ("trophies", "prizes won"),
    "pupils": ("school children", "students enrolled"),
    "exam results": ("test scores", "grades"),
    "teachers": ("teaching staff", "tutors"),
    "class size": ("children in a room", "size of a class"),
    "library loans": ("books lent", "borrowed books"),
    "readers": ("people reading", "library members"),
    "exhibits": ("objects shown", "things on display"),
    "museum guests": ("people in the gallery", "museum attendance"),
    "concerts": ("musical evenings", "recitals"),
    "choir singers": ("voices", "people singing"),
    "film length": ("minutes of film", "running length"),
    "theatre seats": ("places in the hall", "chairs in the theatre"),
    "bus passengers": ("people on buses", "riders"),
    "train delays": ("late trains", "trains behind schedule"),
    "ferry crossings": ("boat trips", "sailings"),
    "flights": ("departures by plane", "air traffic"),
    "bicycle paths": ("cycle lanes", "tracks for bikes"),
    "road repairs": ("streets mended", "potholes filled"),
    "parking spaces": ("room for cars", "places to park"),
    "bridge tolls": ("fees at the bridge", "bridge charges"),
    "patients": ("people treated", "admissions"),
    "hospital beds": ("places on the ward", "beds for the ill"),
    "nurses": ("nursing staff", "carers"),
    "vaccinations": ("jabs given", "doses"),
    "births": ("babies born", "newborns"),
    "surgeries": ("operations", "procedures"),
    "ambulance calls": ("emergency calls", "rescue drives"),
    "blood donors": ("people who gave blood", "donations of blood"),
    "star brightness": ("magnitude", "how bright the star is"),
    "meteor shower": ("shooting stars", "falling stars"),
    "orbit period": ("one round in space", "length of an orbit"),
    "crater width": ("size of the crater", "crater diameter"),
    "moon phase": ("how full the moon is", "lunar phase"),
    "telescope nights": ("evenings of observing", "viewing nights"),
    "baking minutes": ("how long to bake", "oven minutes"),
    "sugar content": ("sweetness", "sugar inside"),
    "salt content": ("saltiness", "grams of salt"),
    "calories": ("nutritional value", "how nourishing"),
    "portions": ("helpings", "servings"),
    "recipe steps": ("instructions to cook", "stages of the dish"),
    "coffee beans": ("roasted beans", "espresso supply"),
    "tea leaves": ("dried tea", "leaves for tea"),
    "penguin colony": ("penguins seen", "colony of penguins"),
    "whale sightings": ("whales seen", "spotted whales"),
    "nesting storks": ("storks on roofs", "stork nests"),
    "wolf pack": ("wolves tracked", "wolves in the area"),
    "bee hives": ("bee colonies", "boxes of bees"),
    "butterfly species": ("kinds of butterfly", "butterflies found"),
    "coral cover": ("living reef", "extent of coral"),
    "forest fires": ("burning woods", "wildfires"),
    "tree height": ("how tall the trees are", "top of the trees"),
    "soil acidity": ("sour ground", "ground acidity"),
    "glacier retreat": ("melting ice", "ice lost"),
    "earthquake strength": ("force of the tremor", "quake magnitude"),
    "tide height": ("level of the sea", "high tide"),
    "lake depth": ("how deep the lake is", "bottom of the lake"),
    "cave length": ("metres underground", "extent of the cave"),
    "summit height": ("altitude of the peak", "elevation"),
    "castle towers": ("turrets", "towers of the castle"),
    "coins found": ("old money dug up", "ancient coins"),
    "letters sent": ("mail posted", "envelopes"),
    "radio stations": ("broadcasters", "wireless channels"),
    "votes cast": ("ballots", "turnout at the election"),
    "council seats": ("members of the council", "elected members"),
    "population": ("inhabitants", "people living there"),
    "weddings": ("marriages", "couples wed"),
    "festival days": ("days of celebration", "length of the fair"),
    "hotel guests": ("tourists staying", "overnight stays"),
    "camping pitches": ("tents", "places for tents"),
    "ski runs": ("slopes", "pistes"),
    "hiking trails": ("footpaths", "walking routes"),
    "museum fee": ("entrance fee", "admission"),
    "noise level": ("loudness", "decibels"),
    "playgrounds": ("swings and slides", "play areas"),
    "dance lessons": ("ballroom courses", "steps taught"),
    "chess rating": ("strength at chess", "player level"),
    "pages printed": ("printed sheets", "printer output"),
    "software bugs": ("errors in the code", "program defects"),
    "memory size": ("storage", "bytes available"),
    "battery life": ("how long the battery lasts", "runtime on battery"),
    "screen width": ("display size", "breadth of the screen"),
    "engine power": ("horse power", "strength of the motor"),
    "fuel tank": ("litres of petrol", "tank volume"),
    "brake distance": ("way to stop", "stopping distance"),
}

UNITS = "mm cm km kg g t l % C h min dB kW pts EUR m".split()

# Kinds of things that reports are about; a name stands before or after.
PLACES = """Valley Island Lake Hospital School Museum Observatory Farm Forest Castle Village Station
Harbour Club Theatre Library Garden Orchard Glacier Canyon Airport Bridge College Zoo Reef Abbey
Kitchen Bakery Studio Camp Hotel Tower Cave Beach Meadow Monastery Stadium Clinic Laboratory Press
Workshop Vineyard Dairy Brewery Mill Lighthouse Arena Chapel Palace Academy""".split()

NOUNS = """badger otter heron sparrow salmon trout beaver lynx moose bison panther leopard tiger
dolphin turtle lizard spider beetle cricket hornet walnut chestnut maple willow cedar cypress poplar
hazel clover thistle lavender jasmine orchid tulip daisy poppy violet lily fern moss ginger pepper
cinnamon vanilla basil parsley cherry plum peach apricot melon lemon orange banana cabbage carrot
onion potato tomato pumpkin spinach bread butter cheese cream yoghurt soup salad sauce noodle rice
copper silver golden bronze iron nickel zinc amber coral pearl ruby emerald sapphire crystal flint
chalk clay sand gravel pebble canyon valley meadow prairie desert jungle swamp lagoon island harbour
anchor sailor captain pirate lantern candle mirror window curtain carpet cushion blanket pillow
hammer ladder shovel bucket basket barrel bottle kettle saucer spoon knife needle thread button
ribbon velvet cotton linen woollen leather jacket trouser sandal mitten helmet crown sceptre throne
castle tower palace temple chapel abbey cottage cabin barn stable fountain statue garden orchard
violin trumpet piano guitar drummer singer dancer painter sculptor poet author editor printer baker
butcher tailor cobbler farmer miller hunter fisher gardener carpenter mason plumber doctor dentist
lawyer judge mayor bishop general soldier pilot driver teacher student scholar professor astronomer
planet comet galaxy rocket satellite telescope compass magnet engine piston propeller turbine wheel
wagon carriage bicycle tractor ferry canoe schooner harvest season winter summer autumn spring
morning evening midnight thunder lightning storm cloud rainbow breeze frost glacier volcano summit
ridge cliff cavern tunnel bridge avenue street corner square village city county kingdom empire
puzzle riddle story legend chapter letter journal album picture poster ticket stamp parcel ribbon
circle triangle square cube sphere pyramid mirror shadow echo whisper melody rhythm chorus ballad
dragon unicorn giant wizard phoenix griffin mermaid goblin fairy knight archer squire herald monk
purple yellow crimson scarlet indigo turquoise silent gentle clever brave bitter hollow narrow
ancient modern hidden distant frozen broken crooked polished wooden stony sunny windy foggy snowy
eleven twelve twenty thirty hundred thousand double triple quarter dozen monday tuesday wednesday
thursday friday saturday sunday january february march april may june july august september october
november december algebra biology chemistry physics history geography grammar music drawing
sport""".split()

GROUPS: dict[str, tuple[str, ...]] = {
    "month": tuple("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()),
    "season": ("spring", "summer", "autumn", "winter"),
    "weekday": ("Monday", "Tuesday", "Friday", "Sunday", "Thursday"),
    "age group": ("children", "teenagers", "adults", "seniors", "toddlers"),
    "district": ("Oldtown", "Riverside", "Hillside", "Parkway", "Docks", "Uptown"),
    "altitude": ("coast", "lowland", "foothill", "plateau", "summit"),
    "site": ("upper", "lower", "inner", "outer", "middle"),
    "direction": ("northern", "southern", "eastern", "western", "central"),
    "team": ("red team", "blue team", "green team", "white team"),
    "method": ("by hand", "by boat", "by bus", "on foot", "by rope"),
}

REASONS: dict[str, tuple[str, ...]] = {
    "a long drought": ("no rain fell for weeks", "it was very dry"),
    "the spring flood": ("the river burst its banks", "the banks overflowed"),
    "new volunteers": ("people offered their help", "helpers came"),
    "a broken pump": ("a machine failed", "equipment stopped"),
    "the school holidays": ("children were at home", "lessons had stopped"),
    "a famous guest": ("somebody well known came", "a star appeared"),
    "the road closure": ("nobody could drive there", "a street was shut"),
    "heavy fog": ("nobody could see far", "visibility was poor"),
    "a gift of seeds": ("somebody donated plants", "seeds were given"),
    "the late frost": ("it froze in April", "cold nights returned"),
    "a longer summer": ("the heat lasted", "it stayed hot"),
    "missing chairs": ("there was nowhere to sit", "seats were lacking"),
    "a new roof": ("the building was mended", "the house was covered again"),
    "an old map": ("somebody found a chart", "a drawing was discovered"),
    "louder bells": ("the ringing grew", "chimes were renewed"),
    "fewer foxes": ("hunters of hens were gone", "predators left"),
}

ONSETS = """b br c ch cl d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sc sh sk sl sn sp
st str t th tr v w y z""".split()
VOWELS = "a e i o u a e i o ai ea ee ie oa oo ou au io y".split()
CODAS = ["", "", "", *"l n r s t m d k nd rt st ck ng x sh".split()]
ENDINGS = ["", "", "", *"er on en ia um us ine ite ing ment ion al y".split()]
