"""Where the region is: eight cities in four time zones, and the twelve clinics there.

Cities, streets and postal codes fit each other; house numbers and clinics are invented.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class City:
    """A city with streets, each with a postal code that it runs through, and its telephone area codes."""

    name: str
    state: str
    time_zone: str
    area_codes: tuple[str, ...]
    streets: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Site:
    """A clinic's name and place."""

    name: str
    city: City
    address: str
    zip_code: str

    @property
    def email(self) -> str:
        """The desk's address."""
        return f"{self.name.lower().replace(' ', '-')}@example.org"


NEW_YORK = City(
    "New York", "NY", "America/New_York", ("212", "646", "917"),
    (("Amsterdam Avenue", "10025"), ("Avenue B", "10009"), ("Bleecker Street", "10012"), ("Lenox Avenue", "10027"),
     ("Ninth Avenue", "10019"), ("Steinway Street", "11103"), ("Nostrand Avenue", "11216"), ("Mott Street", "10013")),
)  # fmt: skip
BOSTON = City(
    "Boston", "MA", "America/New_York", ("617", "857"),
    (("Tremont Street", "02118"), ("Centre Street", "02130"), ("Dorchester Avenue", "02125"),
     ("Hanover Street", "02113"), ("Commonwealth Avenue", "02215"), ("Maverick Street", "02128")),
)  # fmt: skip
CHICAGO = City(
    "Chicago", "IL", "America/Chicago", ("312", "773", "872"),
    (("North Clark Street", "60614"), ("West Devon Avenue", "60659"), ("South Halsted Street", "60608"),
     ("North Milwaukee Avenue", "60647"), ("East 53rd Street", "60615"), ("West 26th Street", "60623"),
     ("North Broadway", "60640"), ("West Argyle Street", "60640")),
)  # fmt: skip
MINNEAPOLIS = City(
    "Minneapolis", "MN", "America/Chicago", ("612", "763"),
    (("Cedar Avenue South", "55454"), ("Central Avenue NE", "55418"), ("Lyndale Avenue South", "55408"),
     ("Nicollet Avenue", "55404"), ("West Broadway Avenue", "55411"), ("Minnehaha Avenue", "55406")),
)  # fmt: skip
DENVER = City(
    "Denver", "CO", "America/Denver", ("303", "720"),
    (("South Broadway", "80209"), ("East Colfax Avenue", "80218"), ("Tejon Street", "80211"),
     ("Larimer Street", "80205"), ("South Federal Boulevard", "80219"), ("Tennyson Street", "80212"),
     ("Welton Street", "80205"), ("East Evans Avenue", "80210")),
)  # fmt: skip
SALT_LAKE_CITY = City(
    "Salt Lake City", "UT", "America/Denver", ("801", "385"),
    (("East South Temple", "84102"), ("South 900 East", "84105"), ("West North Temple", "84116"),
     ("South State Street", "84111"), ("East 2100 South", "84106"), ("North 300 West", "84103")),
)  # fmt: skip
LOS_ANGELES = City(
    "Los Angeles", "CA", "America/Los_Angeles", ("213", "310", "323"),
    (("West Sunset Boulevard", "90026"), ("South Vermont Avenue", "90006"), ("East Cesar E Chavez Avenue", "90033"),
     ("Figueroa Street", "90042"), ("Venice Boulevard", "90034"), ("Crenshaw Boulevard", "90008"),
     ("North Broadway", "90012"), ("Los Feliz Boulevard", "90027")),
)  # fmt: skip
SEATTLE = City(
    "Seattle", "WA", "America/Los_Angeles", ("206", "425"),
    (("Rainier Avenue South", "98118"), ("NW Market Street", "98107"), ("East Pike Street", "98122"),
     ("California Avenue SW", "98116"), ("University Way NE", "98105"), ("South Jackson Street", "98104")),
)  # fmt: skip

# The four logins meet at the first one.
SITES = (
    Site("Riverside Family Health", NEW_YORK, "214 Amsterdam Avenue", "10025"),
    Site("Tremont Community Clinic", BOSTON, "530 Tremont Street", "02118"),
    Site("Lakeview Medical Center", CHICAGO, "2847 North Clark Street", "60614"),
    Site("Cedar Avenue Health Center", MINNEAPOLIS, "412 Cedar Avenue South", "55454"),
    Site("Mile High Family Practice", DENVER, "377 South Broadway", "80209"),
    Site("Wasatch Medical Group", SALT_LAKE_CITY, "655 East South Temple", "84102"),
    Site("Echo Park Health Center", LOS_ANGELES, "1820 West Sunset Boulevard", "90026"),
    Site("Rainier Valley Clinic", SEATTLE, "4915 Rainier Avenue South", "98118"),
    Site("Harlem Specialists", NEW_YORK, "291 Lenox Avenue", "10027"),
    Site("Pilsen Health House", CHICAGO, "1743 South Halsted Street", "60608"),
    Site("Five Points Care", DENVER, "2610 Welton Street", "80205"),
    Site("Boyle Heights Medical Plaza", LOS_ANGELES, "2230 East Cesar E Chavez Avenue", "90033"),
)
