// Opens the demo page as a visitor would and checks that a picture arrives.
//
//   node demo.mjs https://localhost:8443
import { anyFailed, assert, check, finish, launch, until, watch } from './harness.mjs'

const [base, direct] = process.argv.slice(2)
if (!base || !/^https?:\/\//.test(base)) {
  console.error('usage: node demo.mjs BASE_URL')
  process.exit(64)
}

const context = await launch()
const page = await context.newPage()
const heard = watch(page)
const text = (side, field) => page.textContent(`[data-side="${side}"] [data-${field}]`)
const clock = () => page.evaluate(() => document.querySelector('[data-side="play"] video').currentTime)

await check('the page opens', async () => {
  await page.goto(`${base.replace(/\/$/, '')}/?auto=1${direct ? `&direct=${direct}` : ''}`)
  assert((await page.title()).includes('tidegate'), 'another page')
})

await check('a drawn clock is published and played', async () => {
  await until(() => text('publish', 'state'), (state) => state === 'live')
  await until(() => text('play', 'state'), (state) => state === 'playing')
  return `first picture after ${await text('play', 'setup')}, node ${await text('play', 'node')}`
})

await check('frames keep coming and the clock moves', async () => {
  const before = await clock()
  const media = await until(() => text('play', 'media'), (now) => parseInt(now, 10) >= 30)
  assert(await clock() > before, 'the clock stands')
  return media
})

await check('both sides hand off', async () => {
  await until(() => page.locator('.steps li.done[data-step="handed"]').count(), (count) => count === 2)
})

await check('media goes on after it, with a delay that can be read off', async () => {
  const before = await clock()
  await until(clock, (now) => now > before + 1)
  return `${await until(() => text('play', 'extra'), (delay) => delay.endsWith('ms'))} late`
})

await check('a failure is shown', async () => {
  await page.click('#stop')
  await until(() => text('publish', 'state'), (state) => state === 'ended')
  await page.fill('#name', 'nobody-publishes-this')
  await page.click('#play')
  await until(() => page.textContent('#trouble strong'), (title) => title === 'No such stream')
})

await check('the page met no error of its own', async () => assert(heard.errors.length === 0, heard.errors[0]))

if (anyFailed()) {
  for (const line of heard.console) console.log('--- console', line)
  console.log(await page.innerText('main').catch(() => ''))
}
await finish(context)
