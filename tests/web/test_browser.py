"""Pages in a real browser: people search, choose, page, compare and send forms."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.web.addresses import own_pages, pages
from tests.web.packages import AXE, package_file
from tests.web.populated import CANONICAL, HOSTILE, PRIVATE
from tests.web.serving import SCHEMES, WIDTHS

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

AXE_RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
AXE_COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
RUN_AXE = """async rules => {
  const found = await axe.run(document, {runOnly: rules, resultTypes: ["violations"]});
  return found.violations.map(each => [each.id, each.nodes.map(node => node.target.join(" "))]);
}"""
# How many things one can act on, and how many of them take the focus.
FOCUS_EACH = """() => {
  const all = "a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']";
  const shown = [...document.querySelectorAll(all)].filter(each => each.checkVisibility());
  const reached = shown.filter(each => {
    each.focus();
    return document.activeElement === each && each.tabIndex >= 0;
  });
  return [shown.length, reached.length];
}"""
FIRST_LOAD_BYTES = 45 * 1024


class Watched:
    """A page whose console and network are listened to."""

    def __init__(self, launched: Browser, address: str, **options) -> None:
        self.context = launched.new_context(
            base_url=address, viewport={"width": 1280, "height": 860}, **options
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.said: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        # The browser says so itself of each page that refuses, which is what is asked of it.
        refused = "the server responded with a status of 4" in message.text
        if message.type in ("error", "warning") and not refused:
            self.said.append(message.text)


@pytest.fixture
def watched(launched, address):
    made = Watched(launched, address)
    yield made
    made.context.close()
    assert made.said == []


@pytest.fixture
def page(watched):
    return watched.page


@pytest.fixture
def scriptless(launched, address):
    made = Watched(launched, address, java_script_enabled=False)
    yield made.page
    made.context.close()


def sign_in(page: Page, registry) -> None:
    page.goto("/sign-in")
    page.get_by_label("Token").fill(registry.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("web")


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_searching_as_one_types_keeps_the_address(page):
    page.goto("/?status=rehearsed")
    page.evaluate("window.same = true")
    page.get_by_role("searchbox").press_sequentially("poetry", delay=20)
    expect(page.get_by_role("status")).to_contain_text("record")
    expect(page).to_have_url(re.compile("q=poetry"))
    assert query(page) == {"q": ["poetry"], "status": ["rehearsed"]}
    rows = page.locator("table.records tbody th > a")
    expect(rows.first).to_contain_text("poetry")
    assert all("poetry" in text for text in rows.all_inner_texts())
    assert page.evaluate("window.same"), "the page was not loaded again"
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("poetry")
    assert all("poetry" in text for text in rows.all_inner_texts())


def test_a_facet_is_chosen_changed_and_taken_back(page):
    page.goto("/")
    total = page.get_by_role("status").inner_text()
    facet = page.get_by_role("region", name="Status", exact=True)
    facet.get_by_role("link", name="Incompatible").click()
    assert query(page) == {"status": ["incompatible"]}
    states = page.locator("table.records td .state").all_inner_texts()
    assert {text.split()[-1] for text in states} == {"Incompatible"}
    # The other values stay countable beside the one that is chosen.
    facet.get_by_role("link", name="Rehearsed").click()
    assert query(page) == {"status": ["rehearsed"]}
    page.get_by_role("region", name="Author").get_by_role("link", name="globex").click()
    assert query(page) == {"status": ["rehearsed"], "author": ["globex"]}
    page.get_by_role("list", name="Chosen filters").get_by_role("link").first.click()
    assert query(page) == {"author": ["globex"]}
    page.get_by_role("link", name="Clear all").click()
    assert page.get_by_role("status").inner_text() == total


def test_pages_follow_each_other_without_repeating_a_record(page):
    page.goto("/?sort=name")
    expected = int(page.locator(".counted b").inner_text())
    seen: list[str] = []
    while True:
        seen += page.locator("table.records tbody th > a").all_inner_texts()
        following = page.get_by_role("link", name="Next page")
        if not following.count():
            break
        following.click()
    assert len(seen) == expected
    page.get_by_role("link", name="First page").click()
    assert "cursor" not in query(page)


def test_the_adapters_page_shows_plan_difference_picture_and_proof(page):
    page.goto("/")
    # Another record of it, on another base, stands beside it.
    page.locator(f"a[href='/adapters/{CANONICAL}']").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(CANONICAL)
    steps = page.locator("ol.steps > li")
    expect(steps).to_have_count(4)
    expect(steps.nth(2)).to_contain_text("Resize the embeddings to 33,004 rows")
    marked = page.locator("table.tensors").first.locator("tr.differs mark").all_inner_texts()
    assert set(marked) == {"33,004", "32,000"}
    picture = page.get_by_role("img", name="Layout of")
    assert picture.locator("rect.match").count() == 128
    assert picture.locator("rect.differs").count() == 2
    proof = page.get_by_role("article")
    expect(proof).to_contain_text("The adapter changes the output")
    expect(proof).to_contain_text("3.4375")
    expect(proof).to_contain_text("16.2 GiB")
    expect(page.locator("pre.error")).to_contain_text("size mismatch")
    page.get_by_text("The picture as a table").click()
    expect(page.get_by_role("region", name="The layout as a table")).to_contain_text("0 to 31")


def test_copying_takes_the_code_and_nothing_else(watched):
    watched.context.grant_permissions(["clipboard-read", "clipboard-write"])
    watched.page.goto(f"/adapters/{CANONICAL}")
    watched.page.locator("details[name=way][open]").get_by_role("button", name="Copy").click()
    expect(watched.page.get_by_role("button", name="Copied")).to_be_visible()
    copied = watched.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("# Load plan sha256:")
    compile(copied, "copied", "exec")


def test_two_revisions_and_two_bases_are_compared(page, registry):
    page.goto(f"/adapters/{CANONICAL}")
    page.get_by_role("button", name="Compare revisions").click()
    assert query(page)["a"] == [registry.first_commit]
    config = page.get_by_role("region", name="Config of the adapter", exact=True)
    expect(config).to_contain_text("lora_dropout")
    page.go_back()
    page.get_by_role("button", name="Compare bases").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare two bases")
    issues = page.get_by_role("region", name="Issues", exact=True)
    expect(issues).to_contain_text("base-differs-from-declared")


def test_a_member_signs_in_sees_what_is_private_and_signs_out(page, registry):
    sign_in(page, registry)
    page.goto(f"/adapters/{PRIVATE}")
    expect(page.get_by_text("private", exact=True)).to_be_visible()
    page.goto("/subscriptions")
    page.get_by_label("Target").fill("https://127.0.0.1/hook")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.goto("/account")
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"/adapters/{PRIVATE}")
    expect(page.get_by_role("heading", level=1)).to_have_text("No record of this adapter")


def test_everything_reads_and_searches_without_a_script(scriptless, registry):
    scriptless.goto("/")
    scriptless.get_by_role("searchbox").fill("legal")
    scriptless.get_by_role("button", name="Search").click()
    assert query(scriptless)["q"] == ["legal"]
    names = scriptless.locator("table.records tbody th > a").all_inner_texts()
    assert names
    assert all("legal" in name for name in names)
    scriptless.get_by_role("region", name="Status", exact=True).get_by_role("link").first.click()
    assert set(query(scriptless)) == {"q", "status"}
    scriptless.goto(f"/adapters/{CANONICAL}")
    expect(scriptless.locator("ol.steps > li")).to_have_count(4)
    assert scriptless.get_by_role("button", name="Copy").count() == 0
    scriptless.goto(f"/operations/{registry.operation_id}")
    expect(scriptless.get_by_text("reading headers, configs and tokenizers")).to_be_visible()
    scriptless.get_by_role("link", name="Look again").click()
    sign_in(scriptless, registry)
    scriptless.goto("/ask")
    scriptless.get_by_label("Adapter", exact=False).first.fill("acme/without-script")
    scriptless.get_by_role("button", name="Ask for a scan").click()
    expect(scriptless.get_by_role("heading", level=1)).to_have_text("Scan of acme/without-script")


def test_the_keyboard_reaches_everything(page):
    for path in ("/", f"/adapters/{CANONICAL}", "/docs"):
        page.goto(path)
        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_text("Skip to content")
        wanted, reached = page.evaluate(FOCUS_EACH)
        assert reached == wanted > 10, path
    page.goto("/")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "choice":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/?status=*")


@pytest.mark.parametrize("signed_in", [False, True], ids=["anyone", "member"])
def test_no_page_breaks_a_rule_of_wcag(launched, address, registry, signed_in):
    script = package_file(*AXE, "axe.min.js").decode("utf-8")
    # axe puts a script into the page, which the policy forbids to everybody else.
    watched = Watched(launched, address, bypass_csp=True)
    if signed_in:
        sign_in(watched.page, registry)
    found = {}
    for name, path in (own_pages() if signed_in else pages(registry)).items():
        for width in WIDTHS:
            watched.page.set_viewport_size({"width": width, "height": 800})
            watched.page.goto(path)
            watched.page.add_script_tag(content=script)
            for scheme in SCHEMES:
                watched.page.emulate_media(color_scheme=scheme)
                violations = watched.page.evaluate(RUN_AXE, AXE_RULES)
                if violations:
                    found[f"{name} {width} {scheme}"] = violations
    watched.context.close()
    assert found == {}


def test_no_page_is_wider_than_a_small_screen(launched, address, registry):
    watched = Watched(launched, address)
    watched.page.set_viewport_size({"width": 360, "height": 740})
    wide = {}
    for name, path in pages(registry).items():
        watched.page.goto(path)
        width = watched.page.evaluate("document.documentElement.scrollWidth")
        if width > 360:
            wide[name] = width
    watched.context.close()
    assert wide == {}


def test_pages_say_nothing_on_the_console_and_load_light(launched, address, registry):
    watched = Watched(launched, address)
    session = watched.context.new_cdp_session(watched.page)
    session.send("Network.enable")
    # Each load is a first one.
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    loaded: list[float] = []
    session.on("Network.loadingFinished", lambda event: loaded.append(event["encodedDataLength"]))
    heavy = {}
    for name, path in pages(registry).items():
        loaded.clear()
        watched.page.goto(path)
        assert watched.page.evaluate("typeof window.htmx") == "object", name
        assert len(loaded) >= 4, "page, style sheet and two scripts are counted"
        if sum(loaded) > FIRST_LOAD_BYTES:
            heavy[name] = sum(loaded)
    watched.context.close()
    assert (heavy, watched.said) == ({}, [])


def test_hostile_texts_run_nothing(watched):
    watched.page.on("dialog", lambda dialog: watched.said.append(dialog.message))
    for path in (f"/adapters/{HOSTILE}", "/adapters/evil/config-lora", "/"):
        watched.page.goto(path)
        assert watched.page.locator("main script, main img:not(.badge), main b b").count() == 0


def test_the_stream_connects_in_sixty_of_sixty_loads(launched, address, registry):
    watched = Watched(launched, address)
    path = f"/operations/{registry.operation_id}"
    connected = 0
    for _ in range(60):
        with watched.page.expect_response(lambda response: response.url.endswith("/live")) as sent:
            watched.page.goto(path, wait_until="commit")
        connected += sent.value.status == 200
    watched.context.close()
    assert connected == 60
    assert watched.said == []
