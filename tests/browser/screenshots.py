"""`make screenshots`: the console's pages as the README shows them. A program, not a test."""

from __future__ import annotations

import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.browser.driver import chromium, colours, resize
from tests.browser.scene import ADDRESS, SOURCES, SYNCS, busy_day
from tests.browser.stage import TOKEN, Stage

FOLDER = Path(__file__).parent.parent.parent / "docs" / "screenshots"
LARGEST = 150_000
WIDTH, PHONE = 1080, 390


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        Stage(Path(directory), SOURCES, SYNCS) as stage,
        chromium() as driver,
    ):
        busy_day(stage)
        driver.get(f"{stage.url}/login")
        driver.find_element(By.NAME, "token").send_keys(TOKEN)
        driver.find_element(By.CSS_SELECTOR, ".login button").click()
        _wait_for(driver, f"{stage.url}/?live=off", "Refused: Amplitude says the API key is invalid", "Connected")
        for name, path, width, scheme in (
            ("overview-light", "/?live=off", WIDTH, "light"),
            ("overview-dark", "/?live=off", WIDTH, "dark"),
            ("overview-phone", "/?live=off", PHONE, "light"),
            ("connection", "/connections/sources.shop?live=off", WIDTH, "light"),
            ("dead-letters", "/dead-letters", WIDTH, "light"),
            ("dead-letters-phone", "/dead-letters", PHONE, "dark"),
        ):
            driver.get(stage.url + path)
            _shoot(driver, name, width, scheme)
        driver.get(f"{stage.url}/trace")
        driver.find_element(By.NAME, "address").send_keys(ADDRESS)
        driver.find_element(By.CSS_SELECTOR, ".search button").click()
        _shoot(driver, "trace", WIDTH, "light")
    return 0


def _wait_for(driver: webdriver.Chrome, url: str, *words: str) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        driver.get(url)
        if all(each in driver.page_source for each in words):
            return
        time.sleep(0.5)
    raise RuntimeError(f"{words} did not appear: {driver.find_element(By.TAG_NAME, 'main').text}")


def _shoot(driver: webdriver.Chrome, name: str, width: int, scheme: str) -> None:
    colours(driver, scheme)
    resize(driver, width, 900)
    height = int(driver.execute_script("return document.documentElement.scrollHeight"))
    resize(driver, width, min(height, 1400 if width == PHONE else 840))
    file = FOLDER / f"{name}.png"
    file.write_bytes(smaller(driver.get_screenshot_as_png()))
    if file.stat().st_size > LARGEST:
        raise RuntimeError(f"{file.name} is larger than {LARGEST:,} bytes")
    print(f"{file.relative_to(Path.cwd())}  {file.stat().st_size:,} bytes")


def smaller(png: bytes) -> bytes:
    """The same picture: Chromium compresses in a hurry."""
    at, packed, head, tail = 8, b"", b"", b""
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        chunk = png[at : at + length + 12]
        if chunk[4:8] == b"IDAT":
            packed += chunk[8:-4]
        elif packed:
            tail += chunk
        else:
            head += chunk
        at += length + 12
    body = b"IDAT" + zlib.compress(zlib.decompress(packed), 9)
    return png[:8] + head + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + tail


if __name__ == "__main__":
    sys.exit(main())
