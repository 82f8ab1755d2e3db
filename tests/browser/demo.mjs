// Opens the demo page like a user and checks that a picture arrives, with all protocols of the page.
//
//   node demo.mjs [--shots DIRECTORY] https://localhost:8443
//   node demo.mjs --direct NODES_PORT http://localhost:MANAGER_PORT   two steps only, sandbox nodes without a gateway
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { anyFailed, assert, check, finish, launch, until, watch } from './harness.mjs'

const { values: flags, positionals: [base] } = parseArgs({
  allowPositionals: true,
  options: { direct: { type: 'string' }, shots: { type: 'string' } }
})
if (!base || !/^https?:\/\//.test(base)) {
  console.error('usage: node demo.mjs [--direct NODES_PORT] [--shots DIRECTORY] BASE_URL')
  process.exit(64)
}

const context = await launch()
const page = await context.newPage()
const complaints = watch(page)
const text = (side, field) => page.textContent(`[data-side="${side}"] [data-${field}]`)
const clock = () => page.evaluate(() => document.querySelector('[data-side="play"] video').currentTime)
const done = (step) => page.locator(`.steps li.done[data-step="${step}"]`).count()
const shot = async (name) => {
  if (flags.shots) await page.screenshot({ path: join(flags.shots, `${name}.png`), fullPage: true })
}

const open = (protocol) => page.goto(`${base.replace(/\/$/, '')}/?auto=1&protocol=${protocol}${flags.direct ? `&direct=${flags.direct}` : ''}`)

// Publishes and plays with one protocol, from the button to the end.
const checkProtocol = async (protocol) => {
  await check(`${protocol}: a drawn clock is published and played`, async () => {
    await open(protocol)
    assert((await page.title()).includes('tidegate'), 'expected the demo page, found another one')
    await until(() => text('publish', 'state'), (state) => state === 'live')
    await until(() => text('play', 'state'), (state) => state === 'playing')
    return `${await text('play', 'protocol')}, first picture after ${await text('play', 'setup')}, node ${await text('play', 'node')}`
  })

  await check(`${protocol}: the first picture is logged once`, async () => {
    const entries = await page.locator('#log summary', { hasText: 'first picture shown' }).count()
    assert(entries === 1, `expected 1 entry, found ${entries}`)
  })

  await check(`${protocol}: frames arrive and the clock moves`, async () => {
    const before = await clock()
    const media = await until(() => text('play', 'media'), (now) => parseInt(now, 10) >= 30)
    assert(await clock() > before, 'the clock does not move')
    return media
  })

  await check(`${protocol}: every step is done`, async () => {
    await until(() => page.locator('.steps li:not(.done)').count(), (open) => open === 0)
    const handOffs = protocol.endsWith('step') ? 2 : 0
    assert(await done('handed') === handOffs, `expected ${handOffs} hand-offs: only WebSockets have one`)
  })

  await check(`${protocol}: media continues and its delay is shown`, async () => {
    const before = await clock()
    await until(clock, (now) => now > before + 1)
    return `${await until(() => text('play', 'extra'), (delay) => delay.endsWith('ms'))} late`
  })
  await shot(protocol)

  await check(`${protocol}: the player ends when the publisher stops`, async () => {
    await page.evaluate(() => sessions.publish.stop())
    await until(() => text('play', 'state'), (state) => state === 'ended')
    assert(await page.locator('#error').isHidden(), 'expected no error on the page')
  })

  await check(`${protocol}: a failure is shown`, async () => {
    await page.fill('#name', 'missing-stream')
    await page.click('#play')
    // Browsers hide why a WebSocket was refused.
    const expected = protocol === 'one-step' ? 'WebSocket refused' : 'No such stream'
    await until(() => page.textContent('#error strong'), (title) => title === expected)
  })
}

const protocols = flags.direct ? ['two-step'] : ['two-step', 'one-step', 'http-2', 'http-1']
for (const protocol of protocols) await checkProtocol(protocol)

if (!flags.direct) {
  await check('a stream published by WHIP is played over a WebSocket', async () => {
    await open('http-2')
    await until(() => text('play', 'state'), (state) => state === 'playing')
    await page.evaluate(() => sessions.play.stop())
    await page.click('label:has([value="one-step"])')
    await page.click('#play')
    await until(() => text('play', 'state'), (state) => state === 'playing')
    assert(/WHIP/.test(await text('publish', 'protocol')) && /WebSocket/.test(await text('play', 'protocol')), 'each side shows its own protocol')
  })

  await check('a name in use is reported', async () => {
    const name = await page.inputValue('#name')
    const other = await context.newPage()
    await other.goto(`${base.replace(/\/$/, '')}/?protocol=http-1&name=${name}`)
    await other.click('#publish')
    await until(() => other.textContent('#error strong'), (title) => title === 'Name in use')
    await other.close()
  })
}

await check('no script error occurs in the page', async () => assert(complaints.errors.length === 0, complaints.errors[0]))

if (anyFailed()) {
  for (const line of complaints.console) console.log('--- console', line)
  console.log(await page.innerText('main').catch(() => ''))
}
await finish(context)
