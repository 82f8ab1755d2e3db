// Signalling over HTTP as in the vendor's SDKs: OPTIONS, POST, PATCH, DELETE. A publisher sends the offer; for a player the node
// sends it. The gateway chooses the node and sends all requests of a session to the same one.
'use strict'

const SDP = 'application/sdp'

class HttpSession extends Session {
  async run (media) {
    this.report('node', 'chosen by the gateway')
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

  // Creates the session. Its URL is in the Location of the answer.
  async create (url, offer) {
    const [response, sdp] = await this.request('POST', url, SDP, offer)
    if (response.status !== 201) throw this.refused(response.status, sdp)
    const host = response.headers.get('session-host')
    if (host) this.report('node', host)
    const location = new URL(response.headers.get('location') || url, response.url)
    // Nodes distinguish players by `requestId`, and their Location need not contain it: as the vendor's SDKs do, add the query.
    location.search ||= new URL(this.url({}), response.url).search
    this.resource = location.href
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

  // Waits for the media connection and then for the data channel, which opens when the node is ready. A node without a data
  // channel is given one second.
  async connected (peer) {
    await new Promise((resolve) => {
      const check = () => peer.connectionState === 'connected' && resolve()
      peer.addEventListener('connectionstatechange', check)
      check()
    })
    await new Promise((resolve) => {
      setTimeout(resolve, 1000)
      this.channel.addEventListener('open', resolve)
      if (this.channel.readyState === 'open') resolve()
    })
  }

  fail (error) {
    if (!this.ended) this.sayGoodbye()
    super.fail(error)
  }

  sayGoodbye () {
    // keepalive: the request completes even when the page is closed
    if (this.resource) this.request('DELETE', this.resource, undefined, undefined, { keepalive: true }).catch(() => {})
  }
}

class Http1 extends HttpSession {
  url (params) {
    const [protocol, id] = this.role === 'publish' ? ['whip', {}] : ['whep', { requestId: this.id }]
    return `/live/${protocol}/endpoint/${this.name}?${new URLSearchParams({ ...id, ...params })}`
  }
}

class Http2 extends HttpSession {
  url (params) {
    const [protocol, id] = this.role === 'publish' ? ['whip', {}] : ['whep', { requestId: this.id }]
    return `/as/v1/proxy/${protocol}/live/${this.name}?${new URLSearchParams({ ...id, nodeGroup: 'default', ...params })}`
  }
}
