"""The page in headless Chromium: nothing is wrong at any width, in light and in dark.

``bash tools/setup_browser.sh`` installs what these need. Without it they are left out, but for
``tools/check.sh``, which sets FREEKD_NEED_BROWSER: there they fail.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

from freekd.report.main import write_report

pytestmark = pytest.mark.browser
PACKAGES = Path(sys.prefix) / "browser"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
OPTIONS = """
--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
--disable-background-networking --disable-component-update --disable-dev-shm-usage
""".split()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs) or not (PACKAGES / "selenium").is_dir():
        missing = "no browser to test the page in; to install one: bash tools/setup_browser.sh"
        if os.environ.get("FREEKD_NEED_BROWSER"):
            pytest.fail(missing)
        pytest.skip(missing)
    sys.path.append(str(PACKAGES))
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    finally:
        sys.path.remove(str(PACKAGES))
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    profile = tmp_path_factory.mktemp("profile")
    for option in [*OPTIONS, f"--user-data-dir={profile}"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    sys.path.append(str(PACKAGES))  # selenium imports parts of itself late
    driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()
    sys.path.remove(str(PACKAGES))


@pytest.fixture(scope="module")
def address(made_once, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report([made_once], out)
    return out.as_uri()


@pytest.fixture
def show(chromium, address):
    """Open the page: ``show(width, scheme)`` gives the driver."""

    def opened(width=1400, scheme="light", where=address):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        chromium.get(where)
        return chromium

    return opened


def settings(test):
    test = pytest.mark.parametrize("width", [380, 1400])(test)
    return pytest.mark.parametrize("scheme", ["light", "dark"])(test)


def unfold(driver):
    driver.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; });")


@settings
def test_nothing_is_wrong(show, width, scheme):
    """No message in the console, every picture loads, and only tables scroll sideways."""
    driver = show(width, scheme)
    for unfolded in (False, True):
        if unfolded:
            unfold(driver)
        wide = driver.execute_script(
            "const page = document.documentElement;"
            "return [page.scrollWidth, page.clientWidth, window.innerWidth]"
        )
        assert wide[0] <= wide[1] and wide[2] == width
        pictures = driver.execute_script(
            "return [...document.images].map(i => [i.alt, i.complete, i.naturalWidth, i.width])"
        )
        assert len(pictures) == 5
        for alt, complete, natural, shown in pictures:
            assert alt and complete and natural > 0 and shown > 0, alt
    assert driver.get_log("browser") == []
    fetched = driver.execute_script(
        "return performance.getEntriesByType('resource').map(r => r.name.slice(0, 60))"
    )
    assert [name for name in fetched if not name.startswith("data:")] == []
    ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(252, 252, 251)", "dark": "rgb(21, 24, 27)"}[scheme]


@settings
def test_no_violation_of_level_a_or_aa(show, width, scheme):
    driver = show(width, scheme)
    unfold(driver)
    driver.execute_script((PACKAGES / "axe_playwright_python" / "axe.min.js").read_text())
    found = driver.execute_async_script(
        "const [rules, done] = arguments;"
        "axe.run(document, {runOnly: rules}).then(done, e => done({error: String(e)}));",
        RULES,
    )
    assert "error" not in found, found
    assert len(found["passes"]) > 15, "it looked at the page"
    assert [(v["id"], v["nodes"][0]["html"]) for v in found["violations"]] == []


def test_axe_finds_what_is_wrong(show):
    """The test above can fail."""
    driver = show()
    driver.execute_script("document.querySelectorAll('img').forEach(i => i.removeAttribute('alt'))")
    driver.execute_script((PACKAGES / "axe_playwright_python" / "axe.min.js").read_text())
    found = driver.execute_async_script(
        "axe.run(document, {runOnly: arguments[0]}).then(arguments[1])", RULES
    )
    assert "image-alt" in {v["id"] for v in found["violations"]}


@pytest.mark.parametrize("width", [380, 1400])
def test_slider_by_keyboard_and_by_pointer(show, width):
    driver = show(width)
    slider = driver.find_element("css selector", ".compare input[type=range]")
    left = driver.find_element("css selector", ".compare img.left")

    def clip():
        return left.value_of_css_property("clip-path")

    assert clip() == "inset(0px 50% 0px 0px)"
    slider.send_keys("\ue010")  # End
    assert slider.get_property("value") == "100" and clip().startswith("inset(0px 0%")
    slider.send_keys("\ue012")  # arrow left
    assert slider.get_property("value") == "99" and clip() == "inset(0px 1% 0px 0px)"
    slider.send_keys("\ue011")  # Home
    assert clip() == "inset(0px 100% 0px 0px)"
    from selenium.webdriver import ActionChains

    stage = driver.find_element("css selector", ".stage")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    quarter = -stage.size["width"] // 4
    ActionChains(driver).move_to_element_with_offset(stage, quarter, 0).click().perform()
    assert 23 <= int(slider.get_property("value")) <= 27


def test_pictures_change_with_the_choice(show):
    """Every image with every model, to the left and to the right: each one loads."""
    driver = show()
    seen = driver.execute_async_script(
        """
        const done = arguments[0], figure = document.querySelector('.compare');
        const pick = name => figure.querySelector('[data-pick=' + name + ']');
        const choose = (select, value) => {
          select.value = value; select.dispatchEvent(new Event('change'));
        };
        (async () => {
          const seen = [];
          for (const number of pick('image').options) {
            for (const side of ['left', 'right']) {
              for (const name of pick(side).options) {
                choose(pick('image'), number.value);
                choose(pick(side), name.value);
                const image = figure.querySelector('img.' + side);
                await image.decode();
                seen.push([image.alt, image.src.length, image.naturalWidth]);
              }
            }
          }
          done(seen);
        })();
        """
    )
    assert len(seen) == 2 * 2 * 4 and all(width == 264 for _, _, width in seen)
    title = "Feature maps: mean size of the channels"
    assert seen[-1][0] == f"{title}, image 2: FreeKD"
    assert len({alt for alt, _, _ in seen}) == 2 * 4
    assert driver.get_log("browser") == []


def test_charts_are_read_with_the_keyboard(show):
    driver = show()
    chart = driver.execute_script(
        "return [...document.querySelectorAll('figure')].find(f => "
        "f.textContent.includes('ratio.freekd')).querySelector('svg.chart')"
    )
    driver.execute_script("arguments[0].focus()", chart)
    active = driver.switch_to.active_element
    active.send_keys("\ue011")  # Home
    said = driver.find_element("id", "say")
    assert said.get_property("textContent") == "iteration 10; FreeKD 1.43"  # 10 / 7
    active.send_keys("\ue014")  # arrow right
    assert said.get_property("textContent") == "iteration 20; FreeKD 2.86"
    active.send_keys("\ue012")  # arrow left
    assert said.get_property("textContent") == "iteration 10; FreeKD 1.43"


def test_rows_are_shown_and_hidden(show):
    driver = show()
    boxes = driver.find_elements("css selector", "[data-toggle]")
    assert len(boxes) == 2 and all(box.is_selected() for box in boxes)
    visible = "return [...document.querySelectorAll('#curves figure')].filter(f => f.offsetParent)"
    before = len(driver.execute_script(visible))
    second = next(b for b in boxes if "FreeKD" in b.find_element("xpath", "..").text)
    second.send_keys(" ")
    lines = driver.execute_script(
        "return [...document.querySelectorAll('#curves svg.chart g')].filter("
        "g => getComputedStyle(g).display !== 'none' && g.textContent.includes('FreeKD')).length"
    )
    assert lines == 0
    # the two charts of FreeKD's own loss and ratio have nothing left to show
    assert len(driver.execute_script(visible)) == before - 2
    second.send_keys(" ")
    assert len(driver.execute_script(visible)) == before


def test_colours_are_chosen_and_kept(show):
    driver = show(scheme="light")
    ground = "return getComputedStyle(document.body).backgroundColor"
    button = driver.find_element("id", "theme")
    button.send_keys("\ue007")
    assert button.text == "Colours: light"
    button.send_keys("\ue007")
    assert button.text == "Colours: dark"
    assert driver.execute_script(ground) == "rgb(21, 24, 27)"
    driver.refresh()
    assert driver.execute_script(ground) == "rgb(21, 24, 27)"
    button = driver.find_element("id", "theme")
    button.send_keys("\ue007")
    assert button.text == "Colours: automatic"
    assert driver.execute_script(ground) == "rgb(252, 252, 251)"


def test_without_scripts_it_is_still_a_report(show, chromium):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver = show(380)
        assert ".690" in driver.find_element("css selector", "table.results").text
        loaded = "return [...document.images].every(i => i.naturalWidth > 0)"
        assert driver.execute_script(loaded)
        assert not driver.find_element("id", "theme").is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_texts_of_others_do_not_run(show, work, new_run):
    bad = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 2'>"
    log = new_run(work / "seed9" / "other") / "20260101_000000.log.json"
    log.write_text(log.read_text().replace("EpochBasedRunner", bad).replace("loss_cls", bad))
    write_report([work])
    driver = show(where=(work / "report.html").as_uri())
    assert driver.execute_script("return window.ran === undefined")
    assert driver.get_log("browser") == []
    assert bad in driver.find_element("id", "curves").get_property("textContent")
