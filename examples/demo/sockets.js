// Signalling by WebSocket. Two steps: ask which node, then open the socket to it. One step: open the socket to a stream, and the
// gateway finds the node. From there on both are the same: negotiate WebRTC, hand off to the data channel.
'use strict'

const HAND_OFF_DELAY = 1000

class SocketSession extends Session {
  waiting = []
  unheard = []

  async run (media) {
    await this.open(await this.address())
    await (this.role === 'publish' ? this.offer(media) : this.answer())
    await this.heard((m) => m.data?.code?.match(/Tric(k)?leCompleted/))
    this.send(this.role === 'publish'
      ? { publish: this.name, mode: 'live', keyFramerate: 3000 }
      : { subscribe: this.name, requestId: this.id })
    await this.heard((m) => m.data?.message === `${this.name} starting`)
  }

  open (url) {
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
        : this.unopened())
    }
    return this.heard((m) => m.data?.code === 'NetConnection.Connect.Success')
  }

  unopened () {
    return new Trouble('WebSocket refused', 'Browsers hide the reason; the gateway’s log and admin page name it.')
  }

  trickling () {
    const peer = this.peer()
    peer.onicecandidate = ({ candidate }) => this.send({
      handleCandidate: this.name,
      requestId: this.id,
      data: { candidate: candidate || { type: 'candidate', candidate: '' } }
    })
    return peer
  }

  async offer (media) {
    this.send({ isAvailable: this.name, bundle: true })
    const { isAvailable } = await this.heard((m) => m.isAvailable !== undefined)
    if (isAvailable) throw new Trouble('Name in use', `Somebody publishes “${this.name}” already.`)
    const peer = this.trickling()
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
    const peer = this.trickling()
    this.send({ requestOffer: this.name, requestId: this.id, transport: 'udp', datachannel: true, doNotSwitch: false })
    const { data } = await this.heard((m) => m.data?.sdp?.type === 'offer')
    await peer.setRemoteDescription(data.sdp)
    const answer = await peer.createAnswer()
    this.send({ handleAnswer: this.name, requestId: this.id, data: { sdp: { type: answer.type, sdp: answer.sdp } } })
    await peer.setLocalDescription(answer)
    this.report('step', 'agreed')
  }

  settled () {
    this.handOff()
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

  message (message) {
    const candidate = message.data?.candidate
    if (candidate?.candidate) this.early(candidate)
    this.waiting = this.waiting.filter((waiter) => !waiter.take(message))
    // A message may come before anybody waits for it: the next waiter looks here first.
    this.unheard.push(message)
  }

  // Candidates can overtake the description they belong to.
  early (candidate) {
    const add = () => this.pc?.addIceCandidate(candidate).catch(() => {})
    if (this.pc?.remoteDescription) return add()
    this.pc?.addEventListener('signalingstatechange', () => this.pc.remoteDescription && add(), { once: true })
  }

  heard (right) {
    const had = this.unheard.find(right)
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

  part () {
    if (this.role === 'publish') this.send({ unpublish: this.name })
  }

  close (gently) {
    super.close(gently)
    for (const { reject } of this.waiting.splice(0)) reject(this.trouble || new Trouble('Stopped', 'The session was stopped.'))
    if (!gently) this.socket?.close()
  }
}

class TwoSteps extends SocketSession {
  async address () {
    const node = await this.ask()
    const app = String(node.scope)
    const query = new URLSearchParams({ id: this.id })
    if (this.direct) return `ws://${node.serverAddress}:${this.direct}${app}/?${query}`
    return `${socketOrigin()}/streammanager/?${query}&host=${encodeURIComponent(node.serverAddress)}&app=${encodeURIComponent(app)}`
  }

  // Step one: the stream manager names a node.
  async ask () {
    const action = this.role === 'publish' ? 'broadcast' : 'subscribe'
    const url = `/streammanager/api/4.0/event/live/${this.name}?action=${action}`
    this.report('step', 'asked')
    const [response, body] = await this.request('GET', url)
    let node
    try { node = JSON.parse(body) } catch { throw new Trouble('Odd answer', `Status ${response.status} without JSON.`) }
    if (!response.ok || node.errorMessage) throw this.refused(response.status, body)
    if (Array.isArray(node)) node = node[0]
    this.report('node', node.serverAddress)
    this.report('step', 'named')
    return node
  }
}

class OneStep extends SocketSession {
  async address () {
    const action = this.role === 'publish' ? 'publish' : 'subscribe'
    this.report('node', 'gateway’s choice')
    return `${socketOrigin()}/as/v1/proxy/ws/${action}/live/${this.name}?${new URLSearchParams({ id: this.id, nodeGroup: 'default' })}`
  }

  unopened () {
    const guess = this.role === 'publish' ? 'Perhaps the name is in use.' : 'Perhaps nobody publishes under this name.'
    return new Trouble('WebSocket refused', `${guess} Browsers hide the reason; the gateway’s log and admin page name it.`)
  }
}

const socketOrigin = () => location.origin.replace(/^http/, 'ws')
