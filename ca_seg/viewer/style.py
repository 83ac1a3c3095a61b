"""The look of the page, and what the picture does under a pointer and under keys.

Colours are those of the theme, so that the page follows the light and the dark mode of the browser.
"""

CSS = """
.gradio-container { max-width: 1500px !important; }
.ca-title h1 { font-size: 1.35rem; margin: 0 0 .1rem; }
.ca-title p { margin: 0; }
.ca-title p, .ca-time, .ca-share, .ca-tiles small, .ca-strip small, .ca-empty {
  color: var(--body-text-color); opacity: .72; }
.ca-stage { position: relative; display: block; line-height: 0; cursor: crosshair; border-radius: 6px; overflow: hidden;
  background: var(--background-fill-secondary); text-align: center; touch-action: pan-y; }
.ca-stage:focus-visible, .ca-class:focus-visible, .ca-scroll:focus-visible { outline: 3px solid var(--color-accent);
  outline-offset: 2px; }
.ca-stage img { width: 100%; height: auto; max-height: 72vh; object-fit: contain; user-select: none; margin: 0; }
.ca-point { position: absolute; width: 15px; height: 15px; margin: -8px 0 0 -8px; border: 2px solid #fff;
  border-radius: 50%; box-shadow: 0 0 0 2px #000; pointer-events: none; }
.ca-legend { display: flex; flex-wrap: wrap; gap: 6px; margin-top: 10px; }
.ca-class { display: inline-flex; align-items: center; gap: 6px; min-height: 36px; padding: 4px 12px; font-size: .9rem;
  border: 1px solid var(--border-color-primary); border-radius: 18px; background: var(--background-fill-primary);
  color: var(--body-text-color); cursor: pointer; font-weight: 400; margin: 0 !important; }
.ca-class:hover { border-color: var(--color-accent); }
.ca-class[aria-pressed=true] { border-color: var(--color-accent); box-shadow: inset 0 0 0 1px var(--color-accent);
  font-weight: 600; }
.ca-colour { width: 14px; height: 14px; border-radius: 4px; border: 1px solid var(--border-color-primary); }
.ca-time, .ca-note, .ca-problem { margin: 0 0 6px; font-size: .9rem; }
.ca-time { font-variant-numeric: tabular-nums; }
.ca-note, .ca-problem { padding: 6px 10px; border-left: 4px solid #b45309; background: var(--background-fill-secondary);
  color: var(--body-text-color); }
.ca-problem { border-left-color: #dc2626; }
.ca-tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 10px; }
.ca-tiles figure { margin: 0; }
.ca-tiles img { width: 100%; height: auto; margin: 0; border-radius: 4px; }
.ca-tiles figcaption { display: flex; justify-content: space-between; gap: 6px; font-size: .85rem; }
.ca-scroll { overflow-x: auto; }
.ca-strip { border-collapse: collapse; font-size: .85rem; color: var(--body-text-color); }
.ca-strip, .ca-strip tr { border: 0 !important; }
.ca-strip th, .ca-strip td { padding: 3px; text-align: center; border: 0; font-weight: 500; }
.ca-strip img { width: 100%; min-width: 100px; max-width: 132px; height: auto; margin: 0; border-radius: 3px;
  display: block; }
.ca-pixel p { margin: 0 0 4px; }
.ca-pixel ol { list-style: none; margin: 0; padding: 0; }
.ca-pixel li { display: grid; grid-template-columns: minmax(70px, 130px) 1fr 52px; gap: 8px; align-items: center;
  font-size: .9rem; margin: 0; font-variant-numeric: tabular-nums; }
.ca-pixel li span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.ca-pixel meter { width: 100%; height: 12px; }
.ca-pixel li b { text-align: right; font-weight: 500; }
.ca-empty { padding: 60px 20px; text-align: center;
  border: 1px dashed var(--border-color-primary); border-radius: 6px; }
footer .divider { display: none; }
[data-testid=status-tracker]:has(> .error) { display: none !important; }  /* the message says what is wrong */
@media (max-width: 640px) { .gradio-container { padding: 8px !important; } }
"""

# hovering shows the classes of a pixel until a click keeps one; arrow keys move the point, Escape lets it go.
# A file that is pasted into the page, or dropped on the stage, is uploaded, and waits in GIVEN for the event "upload"
GIVEN = "window.ca_seg_given"
STAGE_SCRIPT = """
const give = async (file) => {
  try {
    const { path, url } = await upload(file);
    const meta = { _type: "gradio.FileData" };
    GIVEN = { path, url, orig_name: file.name, size: file.size, mime_type: file.type, meta };
    trigger("upload");
  } catch (problem) {
    if (problem.message) trigger("error", { text: problem.message });  // gradio shows the others itself
  }
};
document.addEventListener("paste", (event) => {
  const image = [...event.clipboardData.files].find((file) => file.type.startsWith("image/"));
  if (image) { event.preventDefault(); give(image); }
});
element.addEventListener("dragover", (event) => event.preventDefault());
element.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) give(event.dataTransfer.files[0]);
});
let kept = false, last = 0, point = null, focused = null;
const stage = () => element.querySelector(".ca-stage[data-width]");
const mark = () => {
  const on = stage(), dot = element.querySelector(".ca-point");
  if (!on || !dot || !point) return;
  const image = on.querySelector("img").getBoundingClientRect(), box = on.getBoundingClientRect();
  dot.hidden = false;
  dot.style.left = (image.left - box.left + (point.x + .5) / on.dataset.width * image.width) + "px";
  dot.style.top = (image.top - box.top + (point.y + .5) / on.dataset.height * image.height) + "px";
};
const show = (x, y) => {
  const on = stage(), width = Number(on.dataset.width), height = Number(on.dataset.height);
  point = { x: Math.max(0, Math.min(width - 1, Math.floor(x))), y: Math.max(0, Math.min(height - 1, Math.floor(y))) };
  mark();
  trigger("select", point);
};
const at = (event) => {
  const on = stage(), image = on.querySelector("img").getBoundingClientRect();
  return [(event.clientX - image.left) / image.width * on.dataset.width,
          (event.clientY - image.top) / image.height * on.dataset.height];
};
element.addEventListener("click", (event) => {
  const button = event.target.closest(".ca-class");
  if (button) { focused = button.dataset.name; trigger("input", { name: button.dataset.name }); return; }
  if (stage() && event.target.closest(".ca-stage")) { kept = true; show(...at(event)); }
});
element.addEventListener("pointermove", (event) => {
  if (kept || event.pointerType !== "mouse" || !stage() || !event.target.closest(".ca-stage")) return;
  if (Date.now() - last < 200) return;
  last = Date.now();
  show(...at(event));
});
element.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    kept = false; point = null;
    const dot = element.querySelector(".ca-point");
    if (dot) dot.hidden = true;
    return;
  }
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!steps || !stage() || !event.target.closest(".ca-stage")) return;
  event.preventDefault();
  kept = true;
  const far = event.shiftKey ? 1 : Math.max(1, Math.round(stage().dataset.width / 50));
  const from = point || { x: stage().dataset.width / 2, y: stage().dataset.height / 2 };
  show(from.x + far * steps[0], from.y + far * steps[1]);
});
watch("value", () => {
  mark();
  if (focused === null) return;
  for (const button of element.querySelectorAll(".ca-class")) if (button.dataset.name === focused) button.focus();
  focused = null;
});
""".replace("GIVEN", GIVEN)
