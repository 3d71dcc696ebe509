"""With which rights a server works on somebody else's PostgreSQL, and which logins are refused."""

from health_services.database.embedded import Cluster
from tests.cli.commands import KEYS, PASSWORD, SECRET, run, serving
from tests.database.servers import sql
from tests.servers import named

# Notes whoever makes an account: with which rights, and signed in as whom.
WITNESS = """
CREATE TABLE seen (acts_as text, signed_in_as text);
GRANT INSERT ON seen TO PUBLIC;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO public.seen VALUES (current_user, session_user); RETURN NULL; END';
CREATE TRIGGER note AFTER INSERT ON users EXECUTE FUNCTION note();
"""
WARNING = "DATABASE_URL's user has more rights than the service needs; requests run as health_app."


class Place:
    """One database `health` on the foreign server."""

    def __init__(self, server: Cluster, *statements: str) -> None:
        self.server = server
        self.admin = named(server.admin_url, "health")
        for statement in statements:
            self.administer(statement)

    def administer(self, statement: str) -> str:
        return sql(self.server.admin_url, statement, self.server.bin_dir)

    def ask(self, statement: str) -> str:
        return sql(self.admin, statement, self.server.bin_dir)

    def url(self, login: str) -> str:
        return f"postgresql://{login}:pw@{self.admin.partition('@')[2]}"

    def acting(self, *workers: str, **environment: str) -> tuple[str, str]:
        """The rights and the login of a request, and what the start said."""
        environment |= {"HEALTH_SECRET_KEY": SECRET, "HEALTH_ENCRYPTION_KEYS": KEYS}
        assert run("migrate", **environment).code == 0
        self.ask(WITNESS)
        with serving(*workers, **environment) as (command, client):
            person = {"name": "Ann", "email": "ann@example.org", "password": PASSWORD}
            assert client.post("/auth/register", json=person).status_code == 200
            return self.ask("SELECT acts_as, signed_in_as FROM seen"), command.err


def test_a_superusers_requests_have_lesser_rights_in_every_worker(foreign: Cluster):
    place = Place(foreign, "CREATE DATABASE health")
    acting, said = place.acting("--workers", "2", DATABASE_URL=place.admin)
    assert acting == "health_app|postgres"
    assert WARNING in said


OWNER = "CREATE ROLE owner LOGIN BYPASSRLS PASSWORD 'pw'"
DATABASE = "CREATE DATABASE health OWNER owner"


def test_an_owners_requests_have_lesser_rights(foreign: Cluster):
    place = Place(foreign, OWNER, DATABASE, "CREATE ROLE health_app NOLOGIN; GRANT health_app TO owner")
    acting, said = place.acting(DATABASE_URL=place.url("owner"))
    assert acting == "health_app|owner"
    assert WARNING in said


def test_a_plain_member_needs_no_change_of_role(foreign: Cluster):
    member = "CREATE ROLE member LOGIN PASSWORD 'pw' IN ROLE health_app"
    place = Place(foreign, OWNER, DATABASE, "CREATE ROLE health_app NOLOGIN", member)
    acting, said = place.acting(DATABASE_URL=place.url("member"), HEALTH_MIGRATION_DATABASE_URL=place.url("owner"))
    assert acting == "member|member"
    assert "more rights" not in said


def test_who_may_make_roles_makes_the_lesser_one(foreign: Cluster):
    place = Place(foreign, "CREATE ROLE owner LOGIN CREATEROLE BYPASSRLS PASSWORD 'pw'", DATABASE)
    acting, said = place.acting(DATABASE_URL=place.url("owner"))
    assert acting == "health_app|owner"
    assert WARNING in said


def refused(place: Place, begins: str, **environment: str) -> None:
    """The start is refused in these words; what they ask an administrator to run, up to `;`, is then enough."""
    refusal = run("migrate", **environment).refusal
    assert refusal.startswith(begins)
    assert place.ask("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == "0"
    place.ask(refusal.partition(" run: ")[2].rpartition(";")[0])
    done = run("migrate", **environment)
    assert done.code == 0, done.err


def test_who_may_not_make_the_role_is_told_what_to_ask_for(foreign: Cluster):
    place = Place(foreign, OWNER, DATABASE)
    begins = "The database user may not create the role health_app, with which requests run. Let an administrator"
    refused(place, begins, DATABASE_URL=place.url("owner"))


def test_who_is_no_member_is_told_what_to_ask_for(foreign: Cluster):
    owner = "CREATE ROLE \"the owner\" LOGIN BYPASSRLS PASSWORD 'pw'"
    place = Place(foreign, owner, 'CREATE DATABASE health OWNER "the owner"')
    place.administer("CREATE ROLE health_app NOLOGIN")
    begins = 'The database user "the owner" may not act as health_app. Let an administrator'
    refused(place, begins, DATABASE_URL=place.url("the%20owner"))


def test_an_owner_who_does_not_see_every_row_is_told_what_to_ask_for(foreign: Cluster):
    owner = OWNER.replace("BYPASSRLS ", "")
    place = Place(foreign, owner, DATABASE, "CREATE ROLE health_app NOLOGIN; GRANT health_app TO owner")
    begins = "The database user owner, who owns the schema, must be able to see every row. Let an administrator"
    refused(place, begins, DATABASE_URL=place.url("owner"))


def test_who_may_not_make_the_extension_is_told_what_to_ask_for(foreign: Cluster):
    place = Place(foreign, OWNER, "CREATE DATABASE health", "CREATE ROLE health_app NOLOGIN; GRANT health_app TO owner")
    place.ask("GRANT CREATE ON SCHEMA public TO owner")  # the tables it may make, the extension it may not
    begins = "The database user may not create the extension btree_gist. Let a superuser run: CREATE EXTENSION"
    refused(place, begins, DATABASE_URL=place.url("owner"))
