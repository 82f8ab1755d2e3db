// The requests of SDK 14.3 against Stream Manager 2.0, written by hand after its URLs: an OPTIONS that tells the node in
// `Session-Host`, which every later request repeats as `host`; an empty POST for WHEP, answered with the node's offer. Runs in the
// browser.
'use strict'

class LaterSdk extends window.PlainClient {
  // url is the endpoint with its `nodeGroup`; a player's id comes first, as the SDK puts it.
  constructor (url, id) {
    super(url)
    const endpoint = new URL(url)
    this.own = [...(id ? [['requestId', id]] : []), ...endpoint.searchParams]
    this.endpoint = endpoint.origin + endpoint.pathname
    this.pc.createDataChannel('red5pro')
  }

  with (...more) {
    const pairs = [...this.own, ...more, ...(this.host ? [['host', this.host]] : [])]
    return pairs.map(([key, value]) => `${key}=${value}`).join('&')
  }

  async options () {
    const { status, headers } = await this.request(`${this.endpoint}?signal=true&${this.with()}`, 'OPTIONS')
    // 15.2 goes no further; 14.3 would go on without ICE servers.
    if (status !== 200 && status !== 204) throw Object.assign(new Error('OPTIONS'), { status })
    this.host = headers.get('session-host')
    if (!this.host) throw new Error('OPTIONS without a Session-Host that the page may read')
  }

  async post (body, ...more) {
    const response = await this.request(`${this.endpoint}?signal=true&${this.with(...more)}`, 'POST', 'application/sdp', body)
    const sdp = await response.text()
    if (response.status !== 201) throw Object.assign(new Error(sdp), { status: response.status })
    const location = new URL(response.headers.get('location') || this.endpoint, this.endpoint)
    this.resource = `${location.origin}${location.pathname}?${this.with()}`
    return sdp
  }

  async publish (media) {
    await this.options()
    for (const track of media.getTracks()) this.pc.addTransceiver(track, { direction: 'sendonly', streams: [media] })
    const gathered = this.gathered()
    await this.pc.setLocalDescription()
    const sdp = await this.post(this.pc.localDescription.sdp, ['mode', 'live'], ['transport', 'udp'], ['keyFramerate', 3000])
    await this.pc.setRemoteDescription({ type: 'answer', sdp })
    await gathered
    await this.trickle()
  }

  async play (video) {
    await this.options()
    this.into(video)
    await this.pc.setRemoteDescription({ type: 'offer', sdp: await this.post(undefined, ['transport', 'udp'], ['doNotSwitch', false]) })
    const gathered = this.gathered()
    await this.pc.setLocalDescription()
    const { status } = await this.request(this.resource, 'PATCH', 'application/sdp', this.pc.localDescription.sdp)
    if (status !== 204) throw new Error(`the answer got ${status}`)
    await gathered
    await this.trickle()
  }
}
window.LaterSdk = LaterSdk
