"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));

  // ------------------------------------------------------------- colours: automatic, light, dark
  const theme = document.getElementById("theme");
  const names = { "": "automatic", light: "light", dark: "dark" };
  const store = (value) => { try { localStorage.setItem("freekd-theme", value); } catch (error) { /* not kept */ } };
  const stored = () => { try { return localStorage.getItem("freekd-theme") || ""; } catch (error) { return ""; } };
  const paint = (value) => {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
    theme.textContent = "Colours: " + (names[value] || names[""]);
  };
  theme.hidden = false;
  paint(stored() in names ? stored() : "");
  theme.addEventListener("click", () => {
    const order = Object.keys(names);
    const value = order[(order.indexOf(document.documentElement.dataset.theme || "") + 1) % order.length];
    store(value);
    paint(value);
  });

  // ------------------------------------------------------------- which rows the charts show
  const show = (row, on) => {
    all('#curves [data-row="' + row + '"]').forEach((part) => part.classList.toggle("off", !on));
    all("#curves figure").forEach((figure) => figure.classList.toggle("off", !figure.querySelector(".keys li:not(.off)")));
  };
  all("[data-toggle]").forEach((box) => {
    show(box.dataset.toggle, box.checked);
    box.addEventListener("change", () => show(box.dataset.toggle, box.checked));
  });

  // ------------------------------------------------------------- reading a chart's values
  all("svg.chart").forEach((svg) => {
    const chart = data.charts[svg.dataset.chart];
    const figure = svg.closest("figure");
    const cursor = svg.querySelector(".cursor");
    const at = figure.querySelector(".at");
    let index = chart.steps.length - 1;
    const read = (speak) => {
      cursor.setAttribute("x1", chart.x[index]);
      cursor.setAttribute("x2", chart.x[index]);
      cursor.style.visibility = "visible";
      at.textContent = "iteration " + chart.steps[index];
      const said = [at.textContent];
      all(".keys [data-row]", figure).forEach((key) => {
        const value = chart.values[key.dataset.row][index];
        key.querySelector("b").textContent = value === "" ? "-" : value;
        if (!key.classList.contains("off") && value !== "") said.push(key.textContent.trim());
      });
      if (speak) document.getElementById("say").textContent = said.join("; ");
    };
    const rest = () => {
      cursor.style.visibility = "hidden";
      at.textContent = "";
      all(".keys b", figure).forEach((value) => { value.textContent = value.dataset.last; });
    };
    const point = (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      index = chart.x.reduce((best, one, i) => (Math.abs(one - x) < Math.abs(chart.x[best] - x) ? i : best), 0);
      read(false);
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", rest);
    svg.addEventListener("blur", rest);
    svg.addEventListener("keydown", (event) => {
      const last = chart.steps.length - 1;
      const to = { ArrowLeft: Math.max(0, index - 1), ArrowRight: Math.min(last, index + 1), Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      index = to;
      read(true);
    });
  });

  // ------------------------------------------------------------- pictures
  all("figure.shown").forEach((figure) => {
    const images = data.pictures[Number(figure.dataset.set)];
    const pick = (name) => figure.querySelector('[data-pick="' + name + '"]');
    const set = (image, number, name) => {
      image.src = images[number][name];
      image.alt = figure.dataset.title + ", image " + (number + 1) + (name ? ": " + name : "");
    };
    const change = () => {
      const number = pick("image") ? Number(pick("image").value) : 0;
      all("img[data-name]", figure).forEach((image) => set(image, number, image.dataset.name));
      if (!pick("left")) return;
      ["left", "right"].forEach((side) => {
        set(figure.querySelector("img." + side), number, pick(side).value);
        figure.querySelector(".name-" + side).textContent = pick(side).value;
      });
    };
    all("select", figure).forEach((select) => select.addEventListener("change", change));
    const stage = figure.querySelector(".stage");
    const slider = figure.querySelector('input[type="range"]');
    if (!stage) return;
    const cut = () => stage.style.setProperty("--cut", slider.value + "%");
    slider.addEventListener("input", cut);
    const drag = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = stage.getBoundingClientRect();
      slider.value = Math.round(((event.clientX - box.left) / box.width) * 100);
      cut();
    };
    stage.addEventListener("pointerdown", drag);
    stage.addEventListener("pointermove", drag);
    all("img", stage).forEach((image) => { image.draggable = false; });
    cut();
  });

  // ------------------------------------------------------------- copying a command
  all(".command").forEach((part) => {
    const button = part.querySelector("button");
    if (!navigator.clipboard) return;
    button.hidden = false;
    button.addEventListener("click", () => {
      navigator.clipboard.writeText(part.querySelector("code").textContent).then(
        () => { button.textContent = "Copied"; },
        () => { button.textContent = "Not allowed"; });
    });
  });
})();
