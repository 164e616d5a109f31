"use strict";
// The report works without it: all details at once, and a link into closed details opens them.
(() => {
  const all = () => document.querySelectorAll("details.case");
  document.addEventListener("click", (event) => {
    const data = event.target.dataset || {};
    if ("open" in data || "close" in data) for (const one of all()) one.open = "open" in data;
  });
  function follow() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", follow);
  follow();
})();
