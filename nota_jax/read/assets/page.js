"use strict";
// The page of one reading: picture and engraving side by side, playback, editing.  What was read is
// JSON in the page; abcjs is the only library, and nothing is fetched.
(() => {
  const read = JSON.parse(document.getElementById("reading").textContent);
  const $ = (id) => document.getElementById(id);
  const text = $("abc"), picture = $("picture");
  const UNSURE = read.unsure;
  let tune = null;        // abcjs's, of the text as it is now
  let elements = [];      // of each bar, its SVG elements
  let events = [];        // of playback: {ms, length, bar, pitches, elements}
  let chosen = null;      // [first, last] bar that is selected, null for all
  let edited = false;

  const say = (where, lines) => { $(where).textContent = lines.join("\n"); };

  // ---- Drawing ------------------------------------------------------------------------------

  function draw() {
    [tune] = ABCJS.renderAbc("engraved", text.value, {
      responsive: "resize", add_classes: true, foregroundColor: "currentColor",
      paddingtop: 5, paddingbottom: 5, paddingleft: 5, paddingright: 5,
      clickListener: (element) => choose(barAt(element.startChar), false),
      selectionColor: "currentColor",
    });
    say("complaints", (tune.warnings || []).map((w) => w.replace(/<[^>]*>/g, "")));
    elements = [];
    walk((element, bar, set) => { (elements[bar] ||= []).push(...set); });
    mark();
    time();
  }

  // Calls visit(abc element, number of its bar, its SVG elements) for everything in the music.  A bar
  // ends at a bar line behind its notes; one at the beginning of a line opens a bar.
  function walk(visit) {
    let bar = 0, filled = false;
    for (const line of tune.lines) {
      for (const staff of line.staff || []) {
        for (const element of staff.voices[0] || []) {
          const set = element.abselem ? element.abselem.elemset.filter(Boolean) : [];
          if (element.el_type === "note") { filled = true; visit(element, bar, set); }
          if (element.el_type === "bar") {
            visit(element, bar, set);
            if (filled) { bar += 1; filled = false; }
          }
        }
      }
    }
    return bar + (filled ? 1 : 0);
  }

  function barAt(character) {
    let found = 0;
    walk((element, bar) => { if (element.startChar <= character) found = bar; });
    return found;
  }

  function kind(bar) {
    if (edited || !bar) return "";
    return bar.problem ? "wrong" : bar.sure < UNSURE ? "unsure" : "";
  }

  function mark() {
    elements.forEach((set, number) => {
      const of = kind(read.bars[number]);
      for (const element of set) {
        element.classList.remove("unsure", "wrong", "chosen");
        if (of) element.classList.add(of);
        if (chosen && chosen[0] <= number && number <= chosen[1]) element.classList.add("chosen");
        element.onmouseenter = () => over(number, true);
        element.onmouseleave = () => over(number, false);
      }
    });
    for (const box of picture.querySelectorAll("[data-bar]")) {
      const number = Number(box.dataset.bar);
      box.className = "bar " + kind(read.bars[number]);
      if (chosen && chosen[0] <= number && number <= chosen[1]) box.classList.add("chosen");
    }
    const [first, last] = chosen || [];
    $("where").textContent = !chosen ? "all bars"
      : first === last ? `bar ${first + 1}` : `bars ${first + 1}–${last + 1}`;
  }

  function over(number, on) {
    for (const element of elements[number] || []) element.classList.toggle("over", on);
    const box = picture.querySelector(`[data-bar="${number}"]`);
    if (box) box.classList.toggle("over", on);
  }

  function choose(number, extend) {
    if (extend && chosen) chosen = [Math.min(chosen[0], number), Math.max(chosen[1], number)];
    else chosen = [number, number];
    mark();
    const seen = elements[number] && elements[number][0];
    if (seen) seen.scrollIntoView({ block: "nearest" });
    const bar = read.bars[number];
    if (bar && !edited && document.activeElement !== text) text.setSelectionRange(bar.start, bar.end);
  }

  for (const bar of read.bars) {
    if (!bar.box) continue;
    const box = document.createElement("button");
    const [left, top, right, bottom] = bar.box.map((share) => 100 * share);
    box.type = "button";
    box.dataset.bar = bar.number - 1;
    box.title = `bar ${bar.number}, ${Math.round(100 * bar.sure)} % sure${bar.problem ? ": " + bar.problem : ""}`;
    box.setAttribute("aria-label", box.title);
    Object.assign(box.style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
    box.onclick = (event) => choose(bar.number - 1, event.shiftKey);
    box.onmouseenter = () => over(bar.number - 1, true);
    box.onmouseleave = () => over(bar.number - 1, false);
    picture.append(box);
  }

  // ---- What to check ------------------------------------------------------------------------

  $("said").textContent = read.said;
  for (const note of read.notes) {
    const item = document.createElement("li");
    item.textContent = note;
    $("notes").append(item);
  }

  function doubts() {
    const list = $("doubts"), bars = edited ? [] : read.bars.filter((bar) => kind(bar));
    list.replaceChildren();
    if (bars.length) list.append("To check:");
    for (const bar of bars) {
      const item = document.createElement("button");
      item.type = "button";
      item.className = kind(bar);
      item.textContent = `bar ${bar.number}: ${bar.problem || Math.round(100 * bar.sure) + " % sure"}`;
      item.onclick = () => choose(bar.number - 1, false);
      list.append(item);
    }
  }

  // ---- Playback: oscillators, scheduled a little ahead --------------------------------------

  function time() {
    events = [];
    try {
      tune.setUpAudio({ chordsOff: true });
      const bpm = tune.getBpm(), whole = 60000 / bpm / tune.getBeatLength();
      for (const event of tune.setTiming(bpm, 0)) {
        if (event.type !== "event" || event.startChar === null) continue;
        events.push({
          ms: event.milliseconds, bar: barAt(event.startChar), elements: event.elements.flat(),
          pitches: (event.midiPitches || []).map((p) => [p.pitch, p.duration * whole]),
        });
      }
      const end = tune.noteTimings.length ? tune.noteTimings[tune.noteTimings.length - 1].milliseconds : 0;
      events.forEach((event, i) => { event.end = i + 1 < events.length ? events[i + 1].ms : end; });
    } catch (error) {
      events = [];
    }
    $("play").disabled = !events.length;
  }

  let context = null, playing = null;

  const range = () => {
    if (!chosen) return events;
    const alone = chosen[0] === chosen[1] && !$("loop").checked;
    const first = events.findIndex((event) => event.bar >= chosen[0]);
    return events.slice(Math.max(0, first)).filter((event, i, all) =>
      alone || (event.bar <= chosen[1] && all.slice(0, i).every((e) => e.bar <= chosen[1])));
  };

  function play() {
    const part = range();
    if (!part.length) return;
    context = context || new AudioContext();
    context.resume();
    playing = { part, next: 0, start: context.currentTime + 0.08, offset: part[0].ms, sounds: [], rate: rate() };
    playing.timer = setInterval(ahead, 40);
    $("play").innerHTML = "<span aria-hidden=true>■</span> Stop";
    ahead();
    requestAnimationFrame(follow);
  }

  function stop() {
    if (!playing) return;
    clearInterval(playing.timer);
    for (const sound of playing.sounds) sound.stop();
    playing = null;
    now(null);
    $("play").innerHTML = "<span aria-hidden=true>▶</span> Play";
  }

  const rate = () => Number($("tempo").value) / 100;
  const moment = (ms) => playing.start + (ms - playing.offset) / 1000 / playing.rate;

  function ahead() {
    while (playing && playing.next < playing.part.length && moment(playing.part[playing.next].ms) < context.currentTime + 0.3) {
      const event = playing.part[playing.next++];
      for (const [pitch, length] of event.pitches) sound(pitch, moment(event.ms), length / 1000 / playing.rate);
    }
    if (playing && playing.next === playing.part.length) {
      const last = playing.part[playing.part.length - 1];
      if (context.currentTime < moment(last.end)) return;
      const again = $("loop").checked;
      stop();
      if (again) play();
    }
  }

  function sound(pitch, at, seconds) {
    const oscillator = context.createOscillator(), loudness = context.createGain();
    oscillator.type = "triangle";
    oscillator.frequency.value = 440 * 2 ** ((pitch - 69) / 12);
    const end = at + Math.max(0.06, seconds * 0.95);
    loudness.gain.setValueAtTime(0, at);
    loudness.gain.linearRampToValueAtTime(0.25, at + 0.012);
    loudness.gain.setTargetAtTime(0.12, at + 0.012, 0.15);
    loudness.gain.setTargetAtTime(0, end - 0.03, 0.012);
    oscillator.connect(loudness).connect(context.destination);
    oscillator.start(at);
    oscillator.stop(end + 0.05);
    playing.sounds.push(oscillator);
  }

  function follow() {
    if (!playing) return;
    const passed = playing.part.filter((event) => moment(event.ms) <= context.currentTime);
    now(passed[passed.length - 1] || null);
    requestAnimationFrame(follow);
  }

  let shown = null;
  function now(event) {
    if (event === shown) return;
    for (const element of document.querySelectorAll(".now")) element.classList.remove("now");
    shown = event;
    if (!event) return;
    for (const element of event.elements) element.classList.add("now");
    const box = !edited && picture.querySelector(`[data-bar="${event.bar}"]`);
    if (box) box.classList.add("now");
  }

  $("play").onclick = () => (playing ? stop() : play());
  $("tempo").oninput = () => {
    $("rate").textContent = `${$("tempo").value} %`;
    if (playing) { stop(); play(); }
  };

  // ---- Editing, keys, files -----------------------------------------------------------------

  let waiting = null;
  text.value = read.abc;
  text.oninput = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      stop();
      edited = text.value !== read.abc;
      chosen = null;
      draw();
      doubts();
    }, 200);
  };

  document.addEventListener("keydown", (event) => {
    if (event.target === text || event.ctrlKey || event.metaKey || event.altKey) return;
    const count = elements.length, at = chosen ? chosen[0] : -1;
    const last = chosen ? chosen[1] : -1;
    const field = event.target.tagName === "INPUT";
    if (event.key === " " && event.target.tagName !== "BUTTON" && !field) (playing ? stop() : play());
    else if (event.key === "Escape") { stop(); chosen = null; mark(); }
    else if (event.key === "ArrowRight" && !field) choose(Math.min(count - 1, (event.shiftKey ? last : at) + 1), event.shiftKey);
    else if (event.key === "ArrowLeft" && !field) choose(Math.max(0, at - 1), event.shiftKey);
    else return;
    event.preventDefault();
  });

  function save(name, data, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([data], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  $("save-abc").onclick = () => save(`${read.name}.abc`, text.value, "text/vnd.abc");
  $("save-xml").onclick = () => save(`${read.name}.musicxml`, read.musicxml, "application/vnd.recordare.musicxml+xml");
  $("save-mid").onclick = () => {
    const data = edited || !read.midi
      ? ABCJS.synth.getMidiFile(text.value, { midiOutputType: "binary" })[0] : bytes(read.midi);
    save(`${read.name}.mid`, data, "audio/midi");
  };
  $("save-xml").disabled = !read.musicxml;
  $("save-xml").title = read.musicxml ? "as it was read, without your edits" : "the text is no valid ABC";

  draw();
  doubts();
})();
