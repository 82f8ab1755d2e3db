// A publisher and a player for each kind of client. whip.mjs starts them and reads their state. Runs in the browser.
'use strict'

const settings = new URLSearchParams(location.search)
// The address that all requests go to, which may differ from the web origin of this page.
const base = new URL(settings.get('base') || location.origin)
const running = {}
const traffic = []

const realFetch = window.fetch.bind(window)
window.fetch = async (url, options = {}) => {
  const line = [options.method || 'GET', String(url), options.body ? `${options.body.length} B` : 'empty']
  traffic.push(line)
  try {
    const response = await realFetch(url, options)
    line.push(response.status, `location: ${response.headers.get('location')}`)
    return response
  } catch (error) {
    line.push(error.message)
    throw error
  }
}

// SDK 11 always ends the path of its WebSocket with a slash. The one-step path has none, and later releases send none.
const RealSocket = window.WebSocket
window.WebSocket = class extends RealSocket {
  constructor (url, ...rest) {
    super(/\/proxy\/ws\//.test(url) ? String(url).replace('/?', '?') : url, ...rest)
    traffic.push(['socket', this.url])
    this.addEventListener('close', (event) => traffic.push(['close', event.code, event.reason]))
  }
}

const video = (id) => {
  document.getElementById(id)?.remove()
  const element = Object.assign(document.createElement('video'), { id, muted: true, autoplay: true, playsInline: true })
  document.body.append(element)
  return element
}

const constraints = { audio: true, video: { width: 320, height: 240, frameRate: 30 } }
const common = (key, name) => ({
  protocol: base.protocol.slice(0, -1),
  host: base.hostname,
  port: Number(base.port || 443),
  streamName: name,
  mediaElementId: video(key).id,
  mediaConstraints: constraints,
  rtcConfiguration: { iceServers: [], iceCandidatePoolSize: 2, bundlePolicy: 'max-bundle' }
})

// SDK 11 supports only the 1.x paths. Later releases send the same requests to another URL, which is set here.
const setUrl = (client, url) => {
  if (!url) return
  client._whipUrl = url
  client._whipHelper._url = url
}

const start = {
  async sdkPublish (key, name, url) {
    const client = running[key] = new window.red5prosdk.WHIPClient()
    await client.init({ ...common(key, name), app: 'live' })
    setUrl(client, url)
    await client.publish()
  },

  async sdkPlay (key, name, url, more) {
    const client = running[key] = new window.red5prosdk.WHEPClient()
    const id = `subscriber-${key}`
    await client.init({ ...common(key, name), app: 'live', subscriptionId: id, ...more })
    setUrl(client, url && `${url}&requestId=${id}`)
    await client.subscribe()
  },

  async standardPublish (key, _name, url) {
    running[key] = new window.StandardClient(url)
    await running[key].publish(await navigator.mediaDevices.getUserMedia(constraints))
  },

  async standardPlay (key, _name, url) {
    running[key] = new window.StandardClient(url)
    await running[key].play(video(key))
  },

  async sdk14Publish (key, _name, url) {
    running[key] = new window.Sdk14Client(url)
    await running[key].publish(await navigator.mediaDevices.getUserMedia(constraints))
  },

  async sdk14Play (key, _name, url) {
    running[key] = new window.Sdk14Client(url, `subscriber-${key}`)
    await running[key].play(video(key))
  },

  async socketPublish (key, name, app, params) {
    const client = running[key] = new window.red5prosdk.RTCPublisher()
    await client.init({ ...common(key, name), protocol: socketProtocol(), app, connectionParams: params })
    await client.publish()
  },

  async socketPlay (key, name, app, params) {
    const client = running[key] = new window.red5prosdk.RTCSubscriber()
    await client.init({ ...common(key, name), protocol: socketProtocol(), app, subscriptionId: `subscriber-${key}`, connectionParams: params })
    await client.subscribe()
  }
}

const socketProtocol = () => base.protocol === 'https:' ? 'wss' : 'ws'

// The number of decoded frames, and the time of the playing element.
const playing = async (key) => {
  const client = running[key]
  const element = document.getElementById(key)
  let decoded = 0
  const stats = await (client.pc || client.getPeerConnection()).getStats()
  stats.forEach((report) => {
    if (report.type === 'inbound-rtp' && report.kind === 'video') decoded = report.framesDecoded || 0
  })
  return { decoded, shown: element.getVideoPlaybackQuality().totalVideoFrames, time: element.currentTime }
}

const stop = async (key) => {
  const client = running[key]
  delete running[key]
  // The SDK's players also have a `stop`, which only stops the picture: so `unpublish` and `unsubscribe` go first.
  await (client.unpublish || client.unsubscribe || client.stop).call(client)
}

// The status of the stream manager's answer for a stream.
const streamStatus = async (name) => (await realFetch(new URL(`/streammanager/api/4.0/event/live/${name}?action=subscribe`, base))).status

// The text of a rejection. An SDK may reject with a value that is no Error.
const describe = (error) => String(error?.message || error?.type || error)
const begin = (kind, ...rest) => start[kind](...rest).then(() => '', (error) => `${error?.status || ''} ${describe(error)}`.trim())

window.run = { begin, playing, stop, streamStatus, traffic: () => traffic }
