// The depth under the pointer, beside it: read from the JSON of `Measurement.grid` that the page holds for a picture.
(() => {
  const label = document.createElement("div");
  label.id = "under-pointer";
  label.hidden = true;

  // A picture's id → {text, maps}: the text is decoded again when it is another.
  const decoded = new Map();

  function depthsOf(id) {
    const text = document.querySelector(`#${id}-depths .grids`)?.textContent;
    if (!text) return [];
    if (decoded.get(id)?.text !== text) {
      const maps = JSON.parse(text).map((map) => {
        const bytes = Uint8Array.from(atob(map.depths), (letter) => letter.charCodeAt(0));
        return { ...map, depths: new Float32Array(bytes.buffer) };
      });
      decoded.set(id, { text, maps });
    }
    return decoded.get(id).maps;
  }

  function told(map, x, y) {
    const columns = Math.ceil(map.width / map.step), rows = Math.ceil(map.height / map.step);
    const column = Math.min(Math.round((x * map.width - 0.5) / map.step), columns - 1);
    const row = Math.min(Math.round((y * map.height - 0.5) / map.step), rows - 1);
    const depth = map.depths[Math.max(row, 0) * columns + Math.max(column, 0)];
    return map.name + (Number.isFinite(depth) ? `${depth.toFixed(2)}${map.unit}` : "unknown");
  }

  function show(event) {
    const frame = event.target.closest?.("#slider, #tapped, #both");
    const picture = frame?.querySelector("img");
    const maps = picture ? depthsOf(frame.id === "tapped" ? "slider" : frame.id) : [];
    label.hidden = true;
    if (!maps.length) return;
    // The picture lies in the middle of its box, as large as the box and its style allow.
    const box = picture.getBoundingClientRect();
    const most = getComputedStyle(picture).objectFit === "scale-down" ? 1 : Infinity;
    const scale = Math.min(box.width / picture.naturalWidth, box.height / picture.naturalHeight, most);
    const width = picture.naturalWidth * scale, height = picture.naturalHeight * scale;
    const x = (event.clientX - box.left - (box.width - width) / 2) / width;
    const y = (event.clientY - box.top - (box.height - height) / 2) / height;
    if (!(x >= 0 && x < 1 && y >= 0 && y < 1)) return;
    label.textContent = maps.map((map) => told(map, x, y)).join(" · ");
    label.style.left = `${event.clientX + 14}px`;
    label.style.top = `${event.clientY + 14}px`;
    if (!label.isConnected) document.body.append(label);
    label.hidden = false;
  }

  document.addEventListener("pointermove", show);
  document.addEventListener("pointerleave", () => { label.hidden = true; });
})();
