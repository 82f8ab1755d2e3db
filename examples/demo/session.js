// What every way in has in common: one RTCPeerConnection, a data channel, an end. How SDP travels is the subclasses' matter. It
// knows nothing of the page; it tells `report` what happens.
'use strict'

const PATIENCE = 15000

// An error that people shall read: what failed, and why.
class Trouble extends Error {
  constructor (what, why) {
    super(why)
    this.what = what
  }
}

class Session {
  // role is 'publish' or 'play'; report(kind, …) gets 'step', 'log', 'node', 'state', 'stream', 'over'.
  constructor (role, name, report, direct) {
    Object.assign(this, { role, name, report, direct, ended: false })
    this.id = role === 'publish' ? name : `subscriber-${Math.floor(Math.random() * 65536).toString(16)}`
  }

  async start (media) {
    this.patience = setTimeout(() => this.fail(new Trouble('Too slow', 'The connection did not stand within 15 seconds.')), PATIENCE)
    try {
      await this.run(media)
      clearTimeout(this.patience)
      this.report('step', 'live')
      this.settled()
    } catch (trouble) {
      this.fail(trouble)
      throw trouble
    }
  }

  // The media agreed on flows.
  settled () {}

  peer (iceServers = []) {
    const peer = this.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', iceServers })
    this.channel = peer.createDataChannel('red5pro', { ordered: true })
    this.channel.onmessage = (event) => this.received(event.data, 'data channel')
    peer.onconnectionstatechange = () => {
      const state = peer.connectionState
      this.report('state', state)
      this.report('log', '·', `WebRTC ${state}`, undefined, state === 'connected' ? 'good' : state === 'failed' ? 'bad' : '')
      if (state === 'connected') this.report('step', 'connected')
      if (state === 'failed') this.fail(new Trouble('No media', 'WebRTC found no way between this browser and the node.'))
    }
    if (this.role === 'play') peer.ontrack = ({ streams }) => this.report('stream', streams[0])
    return peer
  }

  received (text, by) {
    let message
    try { message = JSON.parse(text) } catch { message = {} }
    const bad = message.data?.type === 'error'
    this.report('log', '←', by === 'WebSocket' ? text : `[${by}] ${text}`, text, bad ? 'bad' : '')
    if (bad) return this.fail(new Trouble('The node refused', message.data.message || message.data.code))
    if (message.data?.code === 'NetStream.Play.UnpublishNotify') return this.over('The publisher has stopped.')
    this.message(message)
  }

  message () {}

  // A GET or whatever else, told to the page. Gives the response and its text.
  async request (method, url, type, body, options = {}) {
    this.report('log', '→', `${method} ${url}${body ? ` (${type}, ${body.length} bytes)` : ''}`, body)
    let response, text
    try {
      response = await fetch(url, { method, body, cache: 'no-store', headers: type ? { 'Content-Type': type } : {}, ...options })
      text = await response.text()
    } catch {
      throw new Trouble('No answer', 'The gateway can’t be reached. Is the demo still running?')
    }
    const told = ['cache-status', 'location'].map((name) => response.headers.get(name)).filter(Boolean).map((value) => `[${value}] `)
    this.report('log', '←', `${response.status} ${told.join('')}${text}`, text || undefined, response.ok ? 'good' : 'bad')
    return [response, text]
  }

  // A status and a body that say no, for people.
  refused (status, body) {
    let said = body
    try { said = JSON.parse(body) } catch { said = {} }
    if (status === 404 && this.role === 'play') return new Trouble('No such stream', `Nobody publishes “${this.name}” now.`)
    if (status === 409 && this.role === 'publish') return new Trouble('Name in use', `Somebody publishes “${this.name}” already.`)
    const why = said.errorMessage || said.error || 'no reason given'
    return new Trouble(`Refused with ${status}`, said.code ? `${why} (${said.code})` : why)
  }

  fail (trouble) {
    if (this.ended) return
    this.trouble = trouble
    this.report('log', '·', `${trouble.what || 'Error'}: ${trouble.message}`, undefined, 'bad')
    this.close()
    this.report('over', trouble)
  }

  over (why) {
    if (this.ended) return
    this.report('log', '·', why)
    this.close()
    this.report('over', null, why)
  }

  stop () {
    if (this.ended) return
    this.part()
    // Closing at once would overtake the last message on the data channel.
    this.close(true)
    setTimeout(() => this.close(), 150)
    this.report('over', null, 'Stopped.')
  }

  // The page goes away: nothing can be waited for any more.
  leave () {
    this.part()
    this.close()
  }

  // The last word to the node.
  part () {}

  close (gently) {
    this.ended = true
    clearTimeout(this.patience)
    if (!gently) this.pc?.close()
  }
}
