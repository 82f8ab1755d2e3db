// The part that all protocols share: one RTCPeerConnection, a data channel, and the end of a session. Subclasses transport the
// SDP. A session does not use the page; it calls `report` for everything that happens.
'use strict'

const CONNECT_TIMEOUT = 15000

// An error for display: what failed, and why.
class SessionError extends Error {
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
    this.connectTimer = setTimeout(() => this.fail(new SessionError('Too slow', 'The connection was not established within 15 seconds.')), CONNECT_TIMEOUT)
    try {
      await this.run(media)
      clearTimeout(this.connectTimer)
      this.report('step', 'live')
      this.established()
    } catch (error) {
      this.fail(error)
      throw error
    }
  }

  // Called when the negotiated media flows.
  established () {}

  peer (iceServers = []) {
    const peer = this.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', iceServers })
    this.channel = peer.createDataChannel('red5pro', { ordered: true })
    this.channel.onmessage = (event) => this.received(event.data, 'data channel')
    peer.onconnectionstatechange = () => {
      const state = peer.connectionState
      this.report('state', state)
      this.report('log', '·', `WebRTC ${state}`, undefined, state === 'connected' ? 'good' : state === 'failed' ? 'bad' : '')
      if (state === 'connected') this.report('step', 'connected')
      if (state === 'failed') this.fail(new SessionError('No media', 'WebRTC found no way between this browser and the node.'))
    }
    if (this.role === 'play') peer.ontrack = ({ streams }) => this.report('stream', streams[0])
    return peer
  }

  received (text, channel) {
    let message
    try { message = JSON.parse(text) } catch { message = {} }
    const bad = message.data?.type === 'error'
    this.report('log', '←', channel === 'WebSocket' ? text : `[${channel}] ${text}`, text, bad ? 'bad' : '')
    if (bad) return this.fail(new SessionError('The node refused', message.data.message || message.data.code))
    if (message.data?.code === 'NetStream.Play.UnpublishNotify') return this.over('The publisher has stopped.')
    this.message(message)
  }

  message () {}

  // Sends an HTTP request and reports it. Returns the response and its text.
  async request (method, url, type, body, options = {}) {
    this.report('log', '→', `${method} ${url}${body ? ` (${type}, ${body.length} bytes)` : ''}`, body)
    let response, text
    try {
      response = await fetch(url, { method, body, cache: 'no-store', headers: type ? { 'Content-Type': type } : {}, ...options })
      text = await response.text()
    } catch {
      throw new SessionError('No answer', 'The gateway can’t be reached. Is the demo still running?')
    }
    const fields = ['cache-status', 'location'].map((name) => response.headers.get(name)).filter(Boolean).map((value) => `[${value}] `)
    this.report('log', '←', `${response.status} ${fields.join('')}${text}`, text || undefined, response.ok ? 'good' : 'bad')
    return [response, text]
  }

  // The error for the status and the body of a refusal.
  refused (status, body) {
    let answer
    try { answer = JSON.parse(body) } catch { answer = {} }
    if (status === 404 && this.role === 'play') return new SessionError('No such stream', `There is no stream “${this.name}” now.`)
    if (status === 409 && this.role === 'publish') return new SessionError('Name in use', `A stream “${this.name}” is live already.`)
    const why = answer.errorMessage || answer.error || 'no reason given'
    return new SessionError(`Refused with ${status}`, answer.code ? `${why} (${answer.code})` : why)
  }

  fail (error) {
    if (this.ended) return
    this.error = error
    this.report('log', '·', `${error.what || 'Error'}: ${error.message}`, undefined, 'bad')
    this.close()
    this.report('over', error)
  }

  over (why) {
    if (this.ended) return
    this.report('log', '·', why)
    this.close()
    this.report('over', null, why)
  }

  stop () {
    if (this.ended) return
    this.sayGoodbye()
    // Closing at once could discard the last message on the data channel.
    this.close(true)
    setTimeout(() => this.close(), 150)
    this.report('over', null, 'Stopped.')
  }

  // Ends the session when the page is closed, without waiting for anything.
  leave () {
    this.sayGoodbye()
    this.close()
  }

  // Sends the last message to the node.
  sayGoodbye () {}

  close (gently) {
    this.ended = true
    clearTimeout(this.connectTimer)
    if (!gently) this.pc?.close()
  }
}
