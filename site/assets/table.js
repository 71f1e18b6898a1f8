// Makes the tables of records sortable and filterable. The table itself is plain HTML; the data beside it (written by
// medfm.publishing.explorer) says which words each row stands under. The state lives in the address, so a view can be
// shared: models/index.html?modality=ct,mri&status=open&sort=-year
"use strict"

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value)
    else if (value === true) made.setAttribute(key, "")
    else if (value !== false && value !== null) made.setAttribute(key, value)
  }
  made.append(...children)
  return made
}

class Explorer {
  constructor(box, data) {
    this.data = data
    this.table = box.querySelector("table")
    this.table.className = "mt"
    this.body = this.table.tBodies[0]
    this.rows = [...this.body.rows].map((row, i) => ({
      row,
      facets: data.rows[i].facets,
      sort: data.rows[i].sort,
      text: row.textContent.toLowerCase() + " " + data.rows[i].text,
    }))
    this.readAddress()
    const scroll = { class: "mt-scroll", tabindex: "0", role: "region", "aria-label": `Table of ${data.noun}` }
    box.replaceChildren(this.bar(), this.chosen(), element("div", scroll, this.table))
    this.headers()
    this.update()
    addEventListener("popstate", () => {
      this.readAddress()
      this.query.value = this.words
      this.update()
    })
  }

  // ---------------------------------------------------------------- state and address

  readAddress() {
    const asked = new URLSearchParams(location.search)
    const list = key => (asked.get(key) || "").split(",").filter(Boolean)
    this.words = asked.get("q") || ""
    this.selected = new Map(this.data.facets.map(facet => [facet.key, new Set(list(facet.key))]))
    const sort = asked.get("sort") || ""
    const key = sort.replace(/^-/, "")
    this.sortBy = this.data.columns.findIndex(column => column.key === key)
    this.backward = sort.startsWith("-")
    const columns = list("columns")
    this.shown = new Set(this.data.columns.filter(c => (columns.length ? columns.includes(c.key) : c.shown)).map(c => c.key))
  }

  address() {
    const asked = new URLSearchParams(location.search)
    const put = (key, value) => (value ? asked.set(key, value) : asked.delete(key))
    put("q", this.words.trim())
    for (const [key, words] of this.selected) put(key, [...words].join(","))
    put("sort", this.sortBy < 0 ? "" : (this.backward ? "-" : "") + this.data.columns[this.sortBy].key)
    const usual = this.data.columns.every(column => column.shown === this.shown.has(column.key))
    put("columns", usual ? "" : [...this.shown].join(","))
    const query = asked.toString().replaceAll("%2C", ",")
    return location.pathname + (query ? "?" + query : "") + location.hash
  }

  // ---------------------------------------------------------------- controls

  bar() {
    this.query = element("input", {
      type: "search",
      class: "mt-query",
      "aria-label": `Filter ${this.data.noun} by words`,
      placeholder: "Filter by any word: a name, an organ, a license …",
      oninput: () => {
        this.words = this.query.value
        this.update()
      },
    })
    this.query.value = this.words
    this.menus = new Map()
    const menus = this.data.facets.map(facet => this.menu(facet.key, facet.label, facet.words))
    const columns = this.data.columns.map(column => [column.key, column.label, 0, null])
    const shown = this.menu("columns", "Columns", columns.slice(1))
    document.addEventListener("click", event => {
      for (const menu of document.querySelectorAll(".mt-menu[open]")) if (!menu.contains(event.target)) menu.open = false
    })
    document.addEventListener("keydown", event => {
      if (event.key !== "Escape") return
      const open = document.querySelector(".mt-menu[open]")
      if (open) {
        open.open = false
        open.querySelector("summary").focus()
      }
    })
    return element("div", { class: "mt-bar" }, this.query, element("div", { class: "mt-menus" }, ...menus, shown))
  }

  menu(key, label, words) {
    const isColumns = key === "columns"
    const options = words.map(([word, text, depth]) => {
      const box = element("input", {
        type: "checkbox",
        value: word,
        onchange: () => {
          const set = isColumns ? this.shown : this.selected.get(key)
          box.checked ? set.add(word) : set.delete(word)
          this.update()
        },
      })
      const option = element("label", { style: `--depth: ${depth}` }, box, element("span", {}, text))
      if (!isColumns) option.append(element("span", { class: "mt-count" }))
      return option
    })
    const list = element("div", { class: "mt-options", role: "group", "aria-label": label }, ...options)
    const inside = [list]
    if (options.length > 12) {
      inside.unshift(
        element("input", {
          type: "search",
          placeholder: `Find in ${label.toLowerCase()}`,
          "aria-label": `Find in ${label}`,
          oninput: event => {
            const part = event.target.value.toLowerCase()
            for (const option of options) option.hidden = !option.textContent.toLowerCase().includes(part)
          },
        }),
      )
    }
    const mark = element("span", { class: "mt-mark" })
    const attributes = { class: isColumns ? "mt-menu mt-columns" : "mt-menu", "data-facet": key }
    const sheet = element("div", { class: "mt-sheet" }, ...inside)
    this.menus.set(key, element("details", attributes, element("summary", {}, label, mark), sheet))
    return this.menus.get(key)
  }

  chosen() {
    this.status = element("span", { class: "mt-status", role: "status" })
    this.chips = element("span", { class: "mt-chips" })
    this.clear = element("button", { type: "button", class: "mt-clear", onclick: () => this.reset() }, "Clear all")
    return element("div", { class: "mt-line" }, this.status, this.chips, this.clear)
  }

  reset() {
    this.words = this.query.value = ""
    for (const words of this.selected.values()) words.clear()
    this.update()
    this.query.focus()
  }

  headers() {
    this.heads = [...this.table.tHead.rows[0].cells]
    this.heads.forEach((cell, i) => {
      const button = element("button", { type: "button", onclick: () => this.sort(i) }, ...cell.childNodes)
      cell.replaceChildren(button)
      cell.scope = "col"
    })
  }

  sort(column) {
    // numbers are looked for from the largest, texts from A; a third click gives the first order back
    const first = this.data.columns[column].numeric
    if (this.sortBy !== column) [this.sortBy, this.backward] = [column, first]
    else if (this.backward === first) this.backward = !first
    else this.sortBy = -1
    this.update()
  }

  // ---------------------------------------------------------------- showing

  passes(item, besides = null) {
    for (const [key, words] of this.selected) {
      if (key === besides || !words.size) continue
      const own = item.facets[key] || []
      if (!own.some(word => words.has(word))) return false
    }
    return this.terms.every(term => item.text.includes(term))
  }

  update() {
    this.terms = this.words.toLowerCase().split(/\s+/).filter(Boolean)
    const passing = this.rows.filter(item => this.passes(item))
    this.body.replaceChildren(...this.sorted(passing).map(item => item.row))
    this.status.textContent =
      passing.length === this.rows.length
        ? `${this.rows.length} ${this.data.noun}`
        : `${passing.length} of ${this.rows.length} ${this.data.noun}`
    this.table.classList.toggle("mt-empty", !passing.length)
    this.showColumns()
    this.showChosen()
    history.replaceState(history.state, "", this.address())
  }

  sorted(items) {
    if (this.sortBy < 0) return items
    const value = item => item.sort[this.sortBy]
    const sign = this.backward ? -1 : 1
    const text = new Intl.Collator("en", { numeric: true })
    return [...items].sort((a, b) => {
      const [x, y] = [value(a), value(b)]
      if (x === null || y === null) return (x === null) - (y === null)
      return sign * (typeof x === "number" ? x - y : text.compare(x, y))
    })
  }

  showColumns() {
    const hidden = this.data.columns.map((column, i) => i > 0 && !this.shown.has(column.key))
    for (const { row } of this.rows) hidden.forEach((hide, i) => (row.cells[i].hidden = hide))
    this.heads.forEach((cell, i) => {
      cell.hidden = hidden[i]
      const order = this.backward ? "descending" : "ascending"
      i === this.sortBy ? cell.setAttribute("aria-sort", order) : cell.removeAttribute("aria-sort")
    })
  }

  showChosen() {
    this.chips.replaceChildren()
    for (const facet of this.data.facets) {
      const words = this.selected.get(facet.key)
      const counts = new Map()
      for (const item of this.rows.filter(item => this.passes(item, facet.key)))
        for (const word of item.facets[facet.key] || []) counts.set(word, (counts.get(word) || 0) + 1)
      const menu = this.menus.get(facet.key)
      const labels = new Map(facet.words.map(([word, label]) => [word, label]))
      menu.querySelector(".mt-mark").textContent = words.size || ""
      for (const option of menu.querySelectorAll("label")) {
        const box = option.querySelector("input")
        box.checked = words.has(box.value)
        const count = counts.get(box.value) || 0
        option.querySelector(".mt-count").textContent = count
        option.classList.toggle("mt-none", !count && !box.checked)
      }
      for (const word of words) {
        const label = labels.get(word) || word
        const drop = () => {
          words.delete(word)
          this.update()
        }
        this.chips.append(
          element(
            "button",
            { type: "button", class: "mt-chip", title: `${facet.label}: ${label}. Remove this filter`, onclick: drop },
            element("span", { class: "mt-of" }, `${facet.label}: `),
            label,
            element("span", { "aria-hidden": "true" }, " ×"),
          ),
        )
      }
    }
    for (const box of this.menus.get("columns").querySelectorAll("input[type=checkbox]")) box.checked = this.shown.has(box.value)
    this.clear.hidden = !this.terms.length && ![...this.selected.values()].some(words => words.size)
  }
}

for (const box of document.querySelectorAll(".medfm-table")) {
  const data = box.parentElement.querySelector("script.medfm-table-data")
  if (data && box.querySelector("table")) new Explorer(box, JSON.parse(data.textContent))
}
