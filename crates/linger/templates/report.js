"use strict";
// Headings become buttons that sort; without this the tables are as they were written.
for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numbers = [...body.rows].some((row) => row.cells[column].dataset.value !== undefined);
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numbers;
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        // What is not known comes last, whichever way.
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = numbers ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
        return down ? -order : order;
      };
      body.append(...[...body.rows].sort(compare));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
}
