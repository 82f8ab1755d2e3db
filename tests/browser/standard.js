// A client that implements only the standards: WHIP (RFC 9725) and the draft of WHEP. The offer is in the POST, the answer in the
// 201, candidates are trickled with If-Match, and DELETE ends the session. Runs in the browser.
'use strict'

class StandardClient {
  constructor (url) {
    Object.assign(this, { url, requests: [], candidates: [] })
    const pc = this.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' })
    pc.onicecandidate = ({ candidate }) => candidate?.candidate && this.candidates.push(candidate)
  }

  async publish (media) {
    for (const track of media.getTracks()) this.pc.addTransceiver(track, { direction: 'sendonly', streams: [media] })
    await this.negotiate()
  }

  async play (video) {
    this.showIn(video)
    for (const kind of ['audio', 'video']) this.pc.addTransceiver(kind, { direction: 'recvonly' })
    await this.negotiate()
  }

  showIn (video) {
    const stream = video.srcObject = new MediaStream()
    this.pc.ontrack = ({ track }) => stream.addTrack(track)
  }

  gathered () {
    return new Promise((resolve) => {
      this.pc.onicegatheringstatechange = () => this.pc.iceGatheringState === 'complete' && resolve()
    })
  }

  async negotiate () {
    const { pc } = this
    const gathered = this.gathered()
    await pc.setLocalDescription()
    const response = await this.request(this.url, 'POST', 'application/sdp', pc.localDescription.sdp)
    const answer = await response.text()
    if (response.status !== 201) throw Object.assign(new Error(answer), { status: response.status })
    const location = response.headers.get('location')
    if (!location) throw new Error('expected a Location in the 201 that the page may read')
    this.resource = new URL(location, response.url).href
    this.etag = response.headers.get('etag')
    await pc.setRemoteDescription({ type: 'answer', sdp: answer })
    await gathered
    await this.trickle()
  }

  async trickle () {
    const sdp = this.pc.localDescription.sdp
    const [, ufrag] = sdp.match(/^a=ice-ufrag:(.*)$/m)
    const [, pwd] = sdp.match(/^a=ice-pwd:(.*)$/m)
    const { sdpMid = '0' } = this.candidates[0] || {}
    const lines = this.candidates.filter((one) => one.sdpMid === sdpMid).map((one) => `a=${one.candidate}`)
    const fragment = [`a=ice-ufrag:${ufrag.trim()}`, `a=ice-pwd:${pwd.trim()}`, 'm=audio 9 UDP/TLS/RTP/SAVPF 0', `a=mid:${sdpMid}`, ...lines, 'a=end-of-candidates', '']
    const headers = this.etag ? { 'If-Match': this.etag } : {}
    const { status } = await this.request(this.resource, 'PATCH', 'application/trickle-ice-sdpfrag', fragment.join('\r\n'), headers)
    if (status !== 200 && status !== 204) throw new Error(`expected status 200 or 204 for PATCH, found ${status}`)
  }

  async stop () {
    const { status } = await this.request(this.resource, 'DELETE')
    this.pc.close()
    if (status !== 200) throw new Error(`expected status 200 for DELETE, found ${status}`)
  }

  async request (url, method, type, body, headers = {}) {
    const response = await fetch(url, { method, body, headers: type ? { 'Content-Type': type, ...headers } : headers })
    this.requests.push([method, url, response.status])
    return response
  }
}
window.StandardClient = StandardClient
