"""Take the pictures, and lay those of one page side by side."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path

from playwright.sync_api import Page

from tests.screenshots import guides, pages
from tests.screenshots.camera import HEIGHTS, SCHEMES, Camera
from tests.screenshots.pages import View
from tests.screenshots.world import Scene

Tell = Callable[[str], None]
TALLEST = 3_000
"""More of a page is not pictured: a list goes on as it begins."""
SHEET = """<!DOCTYPE html><html lang="en-GB"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ margin: 8px; background: #888; font: 15px sans-serif; }} h1 {{ margin: 0 0 6px; font-size: 17px; }}
main {{ display: grid; grid-template-columns: 190px 640px 820px; gap: 8px; align-items: start; }}
img {{ width: 100%; max-height: 900px; object-fit: cover; object-position: top; display: block; }}
</style></head><body><h1>{title}</h1><main>{images}</main></body></html>"""
INDEX = """<!DOCTYPE html><html lang="en-GB"><head><meta charset="utf-8"><title>Every page</title></head>
<body><h1>Every page</h1><h2>What is wrong</h2><ul>{faults}</ul><h2>Pages</h2><ul>{sheets}</ul></body></html>"""


def for_guides(*, scene: Scene, camera: Camera, into: Path, wanted: Sequence[str], tell: Tell) -> None:
    """Write the pictures of the guides."""
    into.mkdir(parents=True, exist_ok=True)
    for picture in guides.PICTURES:
        if wanted and picture.name not in wanted:
            continue
        page = camera.show(
            who=picture.who,
            address=picture.address(scene),
            width=guides.WIDTH,
            height=picture.height,
            what=picture.name,
        )
        if picture.begins:
            page.evaluate(
                "selector => document.querySelector(selector).scrollIntoView({block: 'start', behavior: 'instant'})",
                picture.begins,
            )
        file = into / f"{picture.name}.png"
        page.screenshot(path=file, animations="disabled", caret="hide")
        tell(f"{file} ({file.stat().st_size // 1_000} kB)")


def every_page(*, scene: Scene, camera: Camera, into: Path, wanted: Sequence[str], tell: Tell) -> list[View]:
    """Write each page at each width in each scheme, a sheet of the six, and an index with what is wrong."""
    into.mkdir(parents=True, exist_ok=True)
    found = pages.views(scene=scene, wanted=wanted)
    sheet = camera.browser.new_page(viewport={"width": 1_684, "height": 400})
    for number, view in enumerate(found, 1):
        tell(f"{number} of {len(found)}: {view.name}")
        files = _six(view, camera, into)
        _sheet(sheet, view, files, into)
    _index(found, camera, into)
    return found


def _six(view: View, camera: Camera, into: Path) -> list[str]:
    files: dict[tuple[str, int], str] = {}
    for width in HEIGHTS:
        page = camera.show(
            who=view.who,
            address=view.address,
            width=width,
            what=view.name,
            status=404 if view.page == pages.NO_ADDRESS else 200,
        )
        height = min(page.evaluate("document.documentElement.scrollHeight"), TALLEST)
        for scheme in SCHEMES:
            camera.turn(page=page, scheme=scheme)
            name = f"{view.name}-{width}-{scheme}.jpg"
            page.screenshot(
                path=into / name,
                type="jpeg",
                quality=70,
                full_page=True,
                clip={"x": 0, "y": 0, "width": width, "height": height},
                animations="disabled",
            )
            files[scheme, width] = name
    return [files[scheme, width] for scheme in SCHEMES for width in HEIGHTS]


def _sheet(sheet: Page, view: View, files: Sequence[str], into: Path) -> None:
    images = "".join(f'<img src="{name}" alt="">' for name in files)
    file = into / f"{view.name}.html"
    file.write_text(SHEET.format(title=html.escape(f"{view.name}: {view.address}"), images=images))
    sheet.goto(file.absolute().as_uri())
    (into / "sheets").mkdir(exist_ok=True)
    sheet.screenshot(path=into / "sheets" / f"{view.name}.png", full_page=True)


def _index(found: Sequence[View], camera: Camera, into: Path) -> None:
    faults = "".join(f"<li>{html.escape(fault)}</li>" for fault in camera.faults) or "<li>Nothing.</li>"
    sheets = "".join(f'<li><a href="{view.name}.html">{view.name}</a></li>' for view in found)
    (into / "index.html").write_text(INDEX.format(faults=faults, sheets=sheets))
