// The picture that is published without a camera. It does not use sessions; the page passes the name of the stream.
'use strict'

// A moving clock. The lowest 16 bits of the time in milliseconds are drawn as black and white boxes, so that the player can
// compute the delay.
const Picture = {
  BITS: 16,
  BOX: 40,
  canvas: Object.assign(document.createElement('canvas'), { width: 640, height: 360 }),

  start (name) {
    this.stop()
    this.name = name
    this.draw()
    this.timer = setInterval(() => this.draw(), 33)
    this.stream = this.canvas.captureStream(30)
    return this.stream
  },

  stop () {
    clearInterval(this.timer)
    for (const track of this.stream?.getTracks() || []) track.stop()
    this.stream = null
  },

  draw () {
    const { canvas, BITS, BOX } = this
    const pen = canvas.getContext('2d')
    const now = Date.now()
    const sky = pen.createLinearGradient(0, 0, 640, 360)
    sky.addColorStop(0, `hsl(${(now / 60) % 360} 60% 22%)`)
    sky.addColorStop(1, `hsl(${(now / 60 + 70) % 360} 70% 34%)`)
    pen.fillStyle = sky
    pen.fillRect(0, 0, 640, 360)
    for (let wave = 0; wave < 3; wave++) {
      pen.beginPath()
      pen.moveTo(0, 320)
      for (let x = 0; x <= 640; x += 16) pen.lineTo(x, 250 + wave * 22 + Math.sin(x / 70 + now / (500 + wave * 170)) * 18)
      pen.lineTo(640, 320)
      pen.fillStyle = `rgb(255 255 255 / ${0.1 + wave * 0.06})`
      pen.fill()
    }
    const angle = now / 700
    pen.fillStyle = '#fde68a'
    pen.beginPath()
    pen.arc(320 + Math.cos(angle) * 230, 120 + Math.sin(angle * 2) * 60, 22, 0, 7)
    pen.fill()
    pen.fillStyle = '#fff'
    pen.textAlign = 'center'
    pen.font = '700 64px ui-monospace, Menlo, Consolas, monospace'
    pen.fillText(new Date(now).toISOString().slice(11, 22), 320, 150)
    pen.font = '500 22px system-ui, sans-serif'
    pen.fillText(`tidegate · ${this.name}`, 320, 195)
    for (let bit = 0; bit < BITS; bit++) {
      pen.fillStyle = (now >> bit) & 1 ? '#fff' : '#000'
      pen.fillRect(bit * BOX, 320, BOX, 40)
    }
  },

  // Milliseconds since the current frame of the video was drawn; undefined when the video does not show this clock.
  age (video) {
    this.reader ||= new OffscreenCanvas(640, 40).getContext('2d', { willReadFrequently: true })
    this.reader.drawImage(video, 0, video.videoHeight * 8 / 9, video.videoWidth, video.videoHeight / 9, 0, 0, 640, 40)
    let drawn = 0
    for (let bit = 0; bit < this.BITS; bit++) {
      const [level] = this.reader.getImageData(bit * this.BOX + this.BOX / 2, 20, 1, 1).data
      if (level > 60 && level < 195) return undefined
      if (level > 127) drawn |= 1 << bit
    }
    const age = (Date.now() - drawn) & 0xffff
    return age < 5000 ? age : undefined
  }
}
