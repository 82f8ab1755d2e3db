// The two-step flow in plain JavaScript: ask which node, open the WebSocket through the gateway, negotiate WebRTC, hand off to
// the data channel. It knows nothing of the page; it tells `report` what happens.
'use strict'

const HAND_OFF_DELAY = 1000
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
    Object.assign(this, { role, name, report, direct, waiting: [], ended: false })
    this.id = role === 'publish' ? name : `subscriber-${Math.floor(Math.random() * 65536).toString(16)}`
  }

  async start (media) {
    this.patience = setTimeout(() => this.fail(new Trouble('Too slow', 'The connection did not stand within 15 seconds.')), PATIENCE)
    try {
      const node = await this.ask()
      await this.open(node)
      await (this.role === 'publish' ? this.offer(media) : this.answer())
      await this.heard((m) => m.data?.code?.match(/Tric(k)?leCompleted/))
      this.send(this.role === 'publish'
        ? { publish: this.name, mode: 'live', keyFramerate: 3000 }
        : { subscribe: this.name, requestId: this.id })
      await this.heard((m) => m.data?.message === `${this.name} starting`)
      clearTimeout(this.patience)
      this.report('step', 'live')
      this.handOff()
    } catch (trouble) {
      this.fail(trouble)
      throw trouble
    }
  }

  // Step one: the stream manager names a node.
  async ask () {
    const action = this.role === 'publish' ? 'broadcast' : 'subscribe'
    const url = `/streammanager/api/4.0/event/live/${this.name}?action=${action}`
    this.report('log', '→', `GET ${url}`)
    this.report('step', 'asked')
    let response, body
    try {
      response = await fetch(url, { cache: 'no-store' })
      body = await response.text()
    } catch {
      throw new Trouble('No answer', 'The gateway can’t be reached. Is the demo still running?')
    }
    const how = response.headers.get('cache-status')
    this.report('log', '←', `${response.status} ${how ? `[${how}] ` : ''}${body}`, body, response.ok ? 'good' : 'bad')
    let node
    try { node = JSON.parse(body) } catch { throw new Trouble('Odd answer', `Status ${response.status} without JSON.`) }
    if (!response.ok || node.errorMessage) throw this.noNode(response.status, node)
    if (Array.isArray(node)) node = node[0]
    this.report('node', node.serverAddress)
    this.report('step', 'named')
    return node
  }

  noNode (status, body) {
    const said = body.errorMessage || body.error || 'no reason given'
    if (status === 404 && this.role === 'play') return new Trouble('No such stream', `Nobody publishes “${this.name}” now.`)
    return new Trouble(`Refused with ${status}`, body.code ? `${said} (${body.code})` : said)
  }

  // Step two: the WebSocket to that node, through the gateway.
  open (node) {
    const app = String(node.scope)
    const base = location.origin.replace(/^http/, 'ws')
    const query = new URLSearchParams({ id: this.id })
    const url = this.direct
      ? `ws://${node.serverAddress}:${this.direct}${app}/?${query}`
      : `${base}/streammanager/?${query}&host=${encodeURIComponent(node.serverAddress)}&app=${encodeURIComponent(app)}`
    this.report('log', '→', `WebSocket ${url}`)
    const socket = this.socket = new WebSocket(url)
    let opened = false
    socket.onopen = () => {
      opened = true
      this.report('step', 'open')
      this.report('log', '·', 'WebSocket open', undefined, 'good')
    }
    socket.onmessage = (event) => this.received(event.data, 'WebSocket')
    socket.onclose = (event) => {
      this.report('log', '·', `WebSocket closed: ${event.code}${event.reason ? ` ${event.reason}` : ''}`)
      if (this.handedOff || this.ended) return
      this.fail(opened
        ? new Trouble('Connection lost', `The WebSocket closed with ${event.code}${event.reason ? `: ${event.reason}` : ''}.`)
        : new Trouble('WebSocket refused', 'Browsers hide the reason; the gateway’s log and admin page name it.'))
    }
    return this.heard((m) => m.data?.code === 'NetConnection.Connect.Success')
  }

  peer () {
    const peer = this.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' })
    this.channel = peer.createDataChannel('red5pro', { ordered: true })
    this.channel.onmessage = (event) => this.received(event.data, 'data channel')
    peer.onicecandidate = ({ candidate }) => this.send({
      handleCandidate: this.name,
      requestId: this.id,
      data: { candidate: candidate || { type: 'candidate', candidate: '' } }
    })
    peer.onconnectionstatechange = () => {
      const state = peer.connectionState
      this.report('state', state)
      this.report('log', '·', `WebRTC ${state}`, undefined, state === 'connected' ? 'good' : state === 'failed' ? 'bad' : '')
      if (state === 'connected') this.report('step', 'connected')
      if (state === 'failed') this.fail(new Trouble('No media', 'WebRTC found no way between this browser and the node.'))
    }
    return peer
  }

  async offer (media) {
    this.send({ isAvailable: this.name, bundle: true })
    const { isAvailable } = await this.heard((m) => m.isAvailable !== undefined)
    if (isAvailable) throw new Trouble('Name in use', `Somebody publishes “${this.name}” already.`)
    const peer = this.peer()
    for (const track of media.getTracks()) peer.addTrack(track, media)
    const offer = await peer.createOffer()
    // First the offer, then the candidates that setLocalDescription sets free.
    this.send({ handleOffer: this.name, transport: 'udp', data: { sdp: { type: offer.type, sdp: offer.sdp } } })
    await peer.setLocalDescription(offer)
    const { data } = await this.heard((m) => m.data?.sdp?.type === 'answer')
    await peer.setRemoteDescription(data.sdp)
    this.report('step', 'agreed')
  }

  async answer () {
    this.send({ isAvailable: this.name })
    const { isAvailable } = await this.heard((m) => m.isAvailable !== undefined)
    if (!isAvailable) throw new Trouble('No such stream', `The node does not have “${this.name}”.`)
    const peer = this.peer()
    peer.ontrack = ({ streams }) => this.report('stream', streams[0])
    this.send({ requestOffer: this.name, requestId: this.id, transport: 'udp', datachannel: true, doNotSwitch: false })
    const { data } = await this.heard((m) => m.data?.sdp?.type === 'offer')
    await peer.setRemoteDescription(data.sdp)
    const answer = await peer.createAnswer()
    this.send({ handleAnswer: this.name, requestId: this.id, data: { sdp: { type: answer.type, sdp: answer.sdp } } })
    await peer.setLocalDescription(answer)
    this.report('step', 'agreed')
  }

  // The node says when its data channel stands; then the WebSocket has done its work.
  async handOff () {
    await this.heard((m) => m.data?.code === 'NetConnection.DataChannel.Available').catch(() => null)
    await new Promise((resolve) => setTimeout(resolve, HAND_OFF_DELAY))
    if (this.ended) return
    this.handedOff = true
    this.send({ switchChannel: 'red5pro' }, true)
    this.socket.close()
    this.report('step', 'handed')
  }

  received (text, by) {
    let message
    try { message = JSON.parse(text) } catch { message = {} }
    const bad = message.data?.type === 'error'
    this.report('log', '←', by === 'WebSocket' ? text : `[${by}] ${text}`, text, bad ? 'bad' : '')
    const candidate = message.data?.candidate
    if (candidate?.candidate) this.early(candidate)
    if (bad) return this.fail(new Trouble('The node refused', message.data.message || message.data.code))
    if (message.data?.code === 'NetStream.Play.UnpublishNotify') return this.over('The publisher has stopped.')
    this.waiting = this.waiting.filter((waiter) => !waiter.take(message))
    // A message may come before anybody waits for it: the next waiter looks here first.
    ;(this.unheard ||= []).push(message)
  }

  // Candidates can overtake the description they belong to.
  early (candidate) {
    const add = () => this.pc?.addIceCandidate(candidate).catch(() => {})
    if (this.pc?.remoteDescription) return add()
    this.pc?.addEventListener('signalingstatechange', () => this.pc.remoteDescription && add(), { once: true })
  }

  heard (right) {
    const had = (this.unheard || []).find(right)
    if (had) return Promise.resolve(had)
    if (this.ended) return Promise.reject(this.trouble || new Trouble('Stopped', 'The session was stopped.'))
    return new Promise((resolve, reject) => {
      this.waiting.push({ take: (message) => right(message) && (resolve(message), true), reject })
    })
  }

  send (message, evenNow) {
    const text = JSON.stringify(message)
    const byChannel = this.handedOff && !evenNow
    if (byChannel ? this.channel?.readyState !== 'open' : this.socket?.readyState !== WebSocket.OPEN) return
    this.report('log', '→', byChannel ? `[data channel] ${text}` : text, text)
    ;(byChannel ? this.channel : this.socket).send(text)
  }

  fail (trouble) {
    if (this.ended) return
    this.trouble = trouble
    this.report('log', '·', `${trouble.what || 'Error'}: ${trouble.message}`, undefined, 'bad')
    this.close()
    this.report('over', trouble)
  }

  over (why) {
    this.report('log', '·', why)
    this.close()
    this.report('over', null, why)
  }

  stop () {
    if (this.ended) return
    if (this.role === 'publish') this.send({ unpublish: this.name })
    // Closing at once would overtake the last message on the data channel.
    const { pc, socket } = this
    this.close(true)
    setTimeout(() => { pc?.close(); socket?.close() }, 150)
    this.report('over', null, 'Stopped.')
  }

  // The page goes away: nothing can be waited for any more.
  leave () {
    if (this.role === 'publish') this.send({ unpublish: this.name })
    this.close()
  }

  close (gently) {
    this.ended = true
    clearTimeout(this.patience)
    for (const { reject } of this.waiting.splice(0)) reject(this.trouble || new Trouble('Stopped', 'The session was stopped.'))
    if (gently) return
    this.pc?.close()
    this.socket?.close()
  }
}
