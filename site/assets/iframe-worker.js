// Browsers start no web worker from files on disk (file://), and the search runs in one. There, this file stands in
// for Worker: it runs the script in a hidden frame and passes messages to and fro. On a server it does nothing.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      this.onmessage = null
      this.onerror = null
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.title = "Search"
      frame.srcdoc = `<base href="${new URL(url, location.href).href}"><script>
        var importScripts = (...urls) => urls.reduce((ready, url) => ready.then(() => new Promise((done, failed) => {
          const script = Object.assign(document.createElement("script"), { src: url, onload: done, onerror: failed })
          document.head.append(script)
        })), Promise.resolve())
        var postMessage = data => parent.dispatchEvent(new MessageEvent("iframe-worker", { data: { frame: self.name, data } }))
      </scr` + `ipt><script src="${new URL(url, location.href).href}"></scr` + `ipt>`
      this.name = frame.name = `iframe-worker-${Math.random().toString(36).slice(2)}`
      frame.addEventListener("load", () => {
        this.frame = frame.contentWindow
        this.waiting.splice(0).forEach(data => this.postMessage(data))
      })
      addEventListener("iframe-worker", event => {
        if (event.data.frame !== this.name) return
        const message = new MessageEvent("message", { data: event.data.data })
        this.dispatchEvent(message)
        if (this.onmessage) this.onmessage(message)
      })
      const add = () => document.body.append(frame)
      document.body ? add() : addEventListener("DOMContentLoaded", add)
    }
    postMessage(data) {
      if (this.frame) this.frame.dispatchEvent(new MessageEvent("message", { data }))
      else this.waiting.push(data)
    }
    terminate() {
      if (this.frame) this.frame.frameElement.remove()
    }
  }
}
