// Signalling over WebSocket. Two steps: ask the stream manager for a node, then open a WebSocket to it. One step: open a WebSocket
// to a stream, and the gateway finds the node. The rest is the same: negotiate WebRTC, hand off to the data channel.
'use strict'

const HAND_OFF_DELAY = 1000

class SocketSession extends Session {
  waiters = []
  messages = []

  async run (media) {
    await this.open(await this.address())
    await (this.role === 'publish' ? this.offer(media) : this.answer())
    await this.receive((m) => m.data?.code?.match(/Tric(k)?leCompleted/))
    this.send(this.role === 'publish'
      ? { publish: this.name, mode: 'live', keyFramerate: 3000 }
      : { subscribe: this.name, requestId: this.id })
    await this.receive((m) => m.data?.message === `${this.name} starting`)
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
        ? new SessionError('Connection lost', `The WebSocket closed with ${event.code}${event.reason ? `: ${event.reason}` : ''}.`)
        : this.unopened())
    }
    return this.receive((m) => m.data?.code === 'NetConnection.Connect.Success')
  }

  unopened () {
    return new SessionError('WebSocket refused', 'Browsers hide the reason; the gateway’s log and admin page name it.')
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
    const { isAvailable } = await this.receive((m) => m.isAvailable !== undefined)
    if (isAvailable) throw new SessionError('Name in use', `A stream “${this.name}” is live already.`)
    const peer = this.trickling()
    for (const track of media.getTracks()) peer.addTrack(track, media)
    const offer = await peer.createOffer()
    // Send the offer first: setLocalDescription starts the candidates, which have to follow it.
    this.send({ handleOffer: this.name, transport: 'udp', data: { sdp: { type: offer.type, sdp: offer.sdp } } })
    await peer.setLocalDescription(offer)
    const { data } = await this.receive((m) => m.data?.sdp?.type === 'answer')
    await peer.setRemoteDescription(data.sdp)
    this.report('step', 'agreed')
  }

  async answer () {
    this.send({ isAvailable: this.name })
    const { isAvailable } = await this.receive((m) => m.isAvailable !== undefined)
    if (!isAvailable) throw new SessionError('No such stream', `The node does not have “${this.name}”.`)
    const peer = this.trickling()
    this.send({ requestOffer: this.name, requestId: this.id, transport: 'udp', datachannel: true, doNotSwitch: false })
    const { data } = await this.receive((m) => m.data?.sdp?.type === 'offer')
    await peer.setRemoteDescription(data.sdp)
    const answer = await peer.createAnswer()
    this.send({ handleAnswer: this.name, requestId: this.id, data: { sdp: { type: answer.type, sdp: answer.sdp } } })
    await peer.setLocalDescription(answer)
    this.report('step', 'agreed')
  }

  established () {
    this.handOff()
  }

  // The node says when its data channel is open; after that the WebSocket is no longer needed.
  async handOff () {
    await this.receive((m) => m.data?.code === 'NetConnection.DataChannel.Available').catch(() => null)
    await new Promise((resolve) => setTimeout(resolve, HAND_OFF_DELAY))
    if (this.ended) return
    this.handedOff = true
    this.send({ switchChannel: 'red5pro' }, true)
    this.socket.close()
    this.report('step', 'handed')
  }

  message (message) {
    const candidate = message.data?.candidate
    if (candidate?.candidate) this.addCandidate(candidate)
    this.waiters = this.waiters.filter((waiter) => !waiter.take(message))
    // A message may arrive before `receive` is called for it, so `receive` searches here first.
    this.messages.push(message)
  }

  // Adds a candidate of the node, which may arrive before the description it belongs to.
  addCandidate (candidate) {
    const add = () => this.pc?.addIceCandidate(candidate).catch(() => {})
    if (this.pc?.remoteDescription) return add()
    this.pc?.addEventListener('signalingstatechange', () => this.pc.remoteDescription && add(), { once: true })
  }

  // Returns the first message that matches, now or in future.
  receive (matches) {
    const earlier = this.messages.find(matches)
    if (earlier) return Promise.resolve(earlier)
    if (this.ended) return Promise.reject(this.error || new SessionError('Stopped', 'The session was stopped.'))
    return new Promise((resolve, reject) => {
      this.waiters.push({ take: (message) => matches(message) && (resolve(message), true), reject })
    })
  }

  // Sends on the WebSocket, or after the hand-off on the data channel unless `bySocket` is set.
  send (message, bySocket) {
    const text = JSON.stringify(message)
    const byChannel = this.handedOff && !bySocket
    if (byChannel ? this.channel?.readyState !== 'open' : this.socket?.readyState !== WebSocket.OPEN) return
    this.report('log', '→', byChannel ? `[data channel] ${text}` : text, text)
    ;(byChannel ? this.channel : this.socket).send(text)
  }

  sayGoodbye () {
    if (this.role === 'publish') this.send({ unpublish: this.name })
  }

  close (gently) {
    super.close(gently)
    for (const { reject } of this.waiters.splice(0)) reject(this.error || new SessionError('Stopped', 'The session was stopped.'))
    if (!gently) this.socket?.close()
  }
}

class TwoSteps extends SocketSession {
  async address () {
    const node = await this.askManager()
    const app = String(node.scope)
    const query = new URLSearchParams({ id: this.id })
    if (this.direct) return `ws://${node.serverAddress}:${this.direct}${app}/?${query}`
    return `${socketOrigin()}/streammanager/?${query}&host=${encodeURIComponent(node.serverAddress)}&app=${encodeURIComponent(app)}`
  }

  // The first step: asks the stream manager for a node.
  async askManager () {
    const action = this.role === 'publish' ? 'broadcast' : 'subscribe'
    const url = `/streammanager/api/4.0/event/live/${this.name}?action=${action}`
    this.report('step', 'asked')
    const [response, body] = await this.request('GET', url)
    let node
    try { node = JSON.parse(body) } catch { throw new SessionError('Unexpected answer', `Expected JSON, found none (status ${response.status}).`) }
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
    this.report('node', 'chosen by the gateway')
    return `${socketOrigin()}/as/v1/proxy/ws/${action}/live/${this.name}?${new URLSearchParams({ id: this.id, nodeGroup: 'default' })}`
  }

  unopened () {
    const guess = this.role === 'publish' ? 'Perhaps the name is in use.' : 'Perhaps there is no such stream.'
    return new SessionError('WebSocket refused', `${guess} Browsers hide the reason; the gateway’s log and admin page name it.`)
  }
}

const socketOrigin = () => location.origin.replace(/^http/, 'ws')
