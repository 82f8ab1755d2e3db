// One publisher and one player for each kind of client, started and read by whip.mjs. Runs in the browser.
'use strict'

const settings = new URLSearchParams(location.search)
// Where everything is sent, which need not be where this page comes from.
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

// SDK 11 always ends the path of its socket with a slash. The one-step path has none: later releases leave it out as well.
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

// SDK 11 knows only the 1.x paths; later releases send the same requests to another URL, so this is where they differ.
const steer = (client, url) => {
  if (!url) return
  client._whipUrl = url
  client._whipHelper._url = url
}

const start = {
  async sdkPublish (key, name, url) {
    const client = running[key] = new window.red5prosdk.WHIPClient()
    await client.init({ ...common(key, name), app: 'live' })
    steer(client, url)
    await client.publish()
  },

  async sdkPlay (key, name, url, more) {
    const client = running[key] = new window.red5prosdk.WHEPClient()
    const id = `subscriber-${key}`
    await client.init({ ...common(key, name), app: 'live', subscriptionId: id, ...more })
    steer(client, url && `${url}&requestId=${id}`)
    await client.subscribe()
  },

  async plainPublish (key, _name, url) {
    running[key] = new window.PlainClient(url)
    await running[key].publish(await navigator.mediaDevices.getUserMedia(constraints))
  },

  async plainPlay (key, _name, url) {
    running[key] = new window.PlainClient(url)
    await running[key].play(video(key))
  },

  async laterPublish (key, _name, url) {
    running[key] = new window.LaterSdk(url)
    await running[key].publish(await navigator.mediaDevices.getUserMedia(constraints))
  },

  async laterPlay (key, _name, url) {
    running[key] = new window.LaterSdk(url, `subscriber-${key}`)
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

// Decoded frames and the clock of the playing element.
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
  // The SDK's players have a `stop` as well, which only halts the picture.
  await (client.unpublish || client.unsubscribe || client.stop).call(client)
}

// The stream manager's word on a stream: its status.
const placed = async (name) => (await realFetch(new URL(`/streammanager/api/4.0/event/live/${name}?action=subscribe`, base))).status

// What SDKs reject with is sometimes no error at all.
const said = (error) => String(error?.message || error?.type || error)
const begin = (kind, ...rest) => start[kind](...rest).then(() => '', (error) => `${error?.status || ''} ${said(error)}`.trim())

window.run = { begin, playing, stop, placed, traffic: () => traffic }
