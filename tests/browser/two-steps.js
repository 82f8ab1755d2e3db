// Does what the vendor's proxy pages do: asks the stream manager for a node, then passes the node to the SDK.
// Runs in the browser; run.mjs calls the functions of window.twoSteps and reads their results.
'use strict'

const settings = new URLSearchParams(location.search)
// Without a gateway the SDK connects to the node directly, as on the vendor's pages without the proxy.
const direct = settings.get('direct')
const frames = []

// All signalling frames, for the report of a failed run.
const RealSocket = window.WebSocket
window.WebSocket = class extends RealSocket {
  constructor (...args) {
    super(...args)
    frames.push(['open', this.url])
    this.addEventListener('message', (event) => frames.push(['in', String(event.data).slice(0, 200)]))
    this.addEventListener('close', (event) => frames.push(['close', event.code, event.reason]))
  }

  send (data) {
    frames.push(['out', String(data).slice(0, 200)])
    super.send(data)
  }
}

const stepOne = async (action, name) => {
  const answer = await fetch(`/streammanager/api/4.0/event/live/${name}?action=${action}`)
  const type = answer.headers.get('content-type') || ''
  if (!type.toLowerCase().includes('application/json')) throw new Error(`expected a JSON answer, found content type ${type}`)
  const json = await answer.json()
  if (json.errorMessage) throw new Error(json.errorMessage)
  return json
}

const common = (node) => {
  const rtcConfiguration = { iceServers: [], iceCandidatePoolSize: 2, bundlePolicy: 'max-bundle' }
  if (direct) {
    return { protocol: 'ws', host: node.serverAddress, port: Number(direct), app: node.scope.replace(/^\//, ''), rtcConfiguration }
  }
  return {
    protocol: 'wss',
    host: location.hostname,
    port: Number(location.port || 443),
    app: 'streammanager',
    connectionParams: { host: node.serverAddress, app: node.scope },
    rtcConfiguration
  }
}

const events = (emitter, list) => emitter.on('*', (event) => list.push(event.type))

const publish = async (name) => {
  const node = await stepOne('broadcast', name)
  const publisher = new window.red5prosdk.RTCPublisher()
  const seen = []
  events(publisher, seen)
  await publisher.init({
    ...common(node),
    streamName: name,
    mediaElementId: 'red5pro-publisher',
    mediaConstraints: { audio: true, video: { width: 320, height: 240, frameRate: 30 } }
  })
  await publisher.publish()
  window.publisher = publisher
  window.publisherEvents = seen
  return { node: node.serverAddress, seen }
}

const subscribe = async (name, id) => {
  const node = await stepOne('subscribe', name)
  const subscriber = new window.red5prosdk.RTCSubscriber()
  const seen = []
  events(subscriber, seen)
  await subscriber.init({
    ...common(node),
    streamName: name,
    subscriptionId: id,
    mediaElementId: 'red5pro-subscriber'
  })
  await subscriber.subscribe()
  window.subscriber = subscriber
  window.subscriberEvents = seen
  return { node: node.serverAddress, seen }
}

// The number of decoded frames, and the time of the playing element.
const playing = async () => {
  const video = document.getElementById('red5pro-subscriber')
  let decoded = 0
  const stats = await window.subscriber.getPeerConnection().getStats()
  stats.forEach((report) => {
    if (report.type === 'inbound-rtp' && report.kind === 'video') decoded = report.framesDecoded || 0
  })
  return {
    decoded,
    shown: video.getVideoPlaybackQuality().totalVideoFrames,
    time: video.currentTime,
    width: video.videoWidth
  }
}

const unpublish = () => window.publisher.unpublish()

window.twoSteps = { publish, subscribe, playing, unpublish, stepOne, frames: () => frames, seen: () => [window.publisherEvents, window.subscriberEvents] }
