// The requests of SDK 14.3 to Stream Manager 2.0, written by hand with the same URLs. The answer to OPTIONS names the node in
// `Session-Host`, and every later request repeats it as `host`. An empty POST for WHEP is answered with the node's offer. Runs in
// the browser.
'use strict'

class Sdk14Client extends window.StandardClient {
  // `url` is the endpoint with its `nodeGroup`. The `id` of a player is the first parameter, as in the SDK.
  constructor (url, id) {
    super(url)
    const endpoint = new URL(url)
    this.params = [...(id ? [['requestId', id]] : []), ...endpoint.searchParams]
    this.endpoint = endpoint.origin + endpoint.pathname
    this.pc.createDataChannel('red5pro')
  }

  query (...more) {
    const pairs = [...this.params, ...more, ...(this.host ? [['host', this.host]] : [])]
    return pairs.map(([key, value]) => `${key}=${value}`).join('&')
  }

  async options () {
    const { status, headers } = await this.request(`${this.endpoint}?signal=true&${this.query()}`, 'OPTIONS')
    // SDK 15.2 stops here; 14.3 would continue without ICE servers.
    if (status !== 200 && status !== 204) throw Object.assign(new Error('OPTIONS'), { status })
    // Without a node the gateway answers 204 and no `Session-Host`: the answer to the POST tells why.
    this.host = headers.get('session-host')
  }

  async post (body, ...more) {
    const response = await this.request(`${this.endpoint}?signal=true&${this.query(...more)}`, 'POST', 'application/sdp', body)
    const sdp = await response.text()
    if (response.status !== 201) throw Object.assign(new Error(sdp), { status: response.status })
    if (!this.host) throw new Error('expected a Session-Host in the answer to OPTIONS that the page may read')
    const location = new URL(response.headers.get('location') || this.endpoint, this.endpoint)
    this.resource = `${location.origin}${location.pathname}?${this.query()}`
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
    this.showIn(video)
    await this.pc.setRemoteDescription({ type: 'offer', sdp: await this.post(undefined, ['transport', 'udp'], ['doNotSwitch', false]) })
    const gathered = this.gathered()
    await this.pc.setLocalDescription()
    const { status } = await this.request(this.resource, 'PATCH', 'application/sdp', this.pc.localDescription.sdp)
    if (status !== 204) throw new Error(`expected status 204 for the SDP answer, found ${status}`)
    await gathered
    await this.trickle()
  }
}
window.Sdk14Client = Sdk14Client
