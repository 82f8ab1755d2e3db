// Signalling by HTTP, as the vendor's SDKs do it: OPTIONS, POST, PATCH, DELETE. A publisher offers; a player is offered to. Which
// node it is, and that every request reaches the same one, is the gateway's care.
'use strict'

const SDP = 'application/sdp'

class HttpSession extends Session {
  async run (media) {
    this.report('node', 'gateway’s choice')
    const peer = this.peer(await this.iceServers())
    const candidates = this.gathering(peer)
    await (this.role === 'publish' ? this.offer(peer, media) : this.answer(peer))
    await this.trickle(await candidates)
    await this.connected(peer)
  }

  async iceServers () {
    const [response, text] = await this.request('OPTIONS', this.url({ signal: true }))
    if (!response.ok) throw this.refused(response.status, text)
    this.report('step', 'options')
    const links = (response.headers.get('link') || '').matchAll(/<([^>]+)>[^,]*rel="ice-server"/g)
    return Array.from(links, ([, urls]) => ({ urls }))
  }

  async offer (peer, media) {
    for (const track of media.getTracks()) peer.addTransceiver(track, { direction: 'sendonly', streams: [media] })
    await peer.setLocalDescription()
    const sdp = await this.create(this.url({ signal: true, mode: 'live', keyFramerate: 3000 }), peer.localDescription.sdp)
    await peer.setRemoteDescription({ type: 'answer', sdp })
    this.report('step', 'agreed')
  }

  async answer (peer) {
    const sdp = await this.create(this.url({ signal: true, doNotSwitch: false }))
    this.report('step', 'offered')
    await peer.setRemoteDescription({ type: 'offer', sdp })
    await peer.setLocalDescription()
    await this.patch(SDP, peer.localDescription.sdp)
    this.report('step', 'agreed')
  }

  // The session now has an address of its own, the Location.
  async create (url, offer) {
    const [response, sdp] = await this.request('POST', url, SDP, offer)
    if (response.status !== 201) throw this.refused(response.status, sdp)
    const host = response.headers.get('session-host')
    if (host) this.report('node', host)
    const place = new URL(response.headers.get('location') || url, response.url)
    // As the vendor's SDKs have it: nodes tell players apart by `requestId`, and their Location need not repeat it.
    place.search ||= new URL(this.url({}), response.url).search
    this.resource = place.href
    return sdp
  }

  async patch (type, body) {
    const [response, text] = await this.request('PATCH', this.resource, type, body)
    if (!response.ok) throw this.refused(response.status, text)
  }

  gathering (peer) {
    const found = []
    return new Promise((resolve) => {
      peer.onicecandidate = ({ candidate }) => candidate ? found.push(candidate) : resolve(found)
    })
  }

  async trickle (candidates) {
    const sdp = this.pc.localDescription.sdp
    const line = (name) => sdp.match(new RegExp(`^a=${name}:.*$`, 'm'))[0].trim()
    const lines = candidates.filter((one) => one.sdpMLineIndex === 0 && one.candidate).map((one) => `a=${one.candidate}`)
    await this.patch('application/trickle-ice-sdpfrag', [line('ice-ufrag'), line('ice-pwd'), line('mid'), ...lines, 'a=end-of-candidates', ''].join('\r\n'))
    this.report('step', 'trickled')
  }

  // The node's media stands when its data channel does; a node that has none gets a moment.
  async connected (peer) {
    await new Promise((resolve) => {
      const look = () => peer.connectionState === 'connected' && resolve()
      peer.addEventListener('connectionstatechange', look)
      look()
    })
    await new Promise((resolve) => {
      setTimeout(resolve, 1000)
      this.channel.addEventListener('open', resolve)
      if (this.channel.readyState === 'open') resolve()
    })
  }

  fail (trouble) {
    if (!this.ended) this.part()
    super.fail(trouble)
  }

  part () {
    // It shall outlive the page.
    if (this.resource) this.request('DELETE', this.resource, undefined, undefined, { keepalive: true }).catch(() => {})
  }
}

class Http1 extends HttpSession {
  url (params) {
    const [word, who] = this.role === 'publish' ? ['whip', {}] : ['whep', { requestId: this.id }]
    return `/live/${word}/endpoint/${this.name}?${new URLSearchParams({ ...who, ...params })}`
  }
}

class Http2 extends HttpSession {
  url (params) {
    const [word, who] = this.role === 'publish' ? ['whip', {}] : ['whep', { requestId: this.id }]
    return `/as/v1/proxy/${word}/live/${this.name}?${new URLSearchParams({ ...who, nodeGroup: 'default', ...params })}`
  }
}
