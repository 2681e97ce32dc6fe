// Drives JupyterLab: run all, a curve that grows while its cell runs, an interrupt that keeps the variables, help.
//
//   node lab.mjs URL FOLDER      screenshots go to FOLDER

import { chromium } from 'playwright-core';

const [url, folder] = process.argv.slice(2);
let passed = 0;
const failures = [];

const check = (what, holds, seen = '') => {
  console.log(`${holds ? 'ok    ' : 'FAILED'} ${what}${holds ? '' : `: ${seen}`}`);
  holds ? passed++ : failures.push(what);
};

const until = async (what, condition, seconds = 60) => {
  const deadline = Date.now() + 1000 * seconds;
  while (Date.now() < deadline) {
    const found = await condition();
    if (found) return found;
    await new Promise((again) => setTimeout(again, 100));
  }
  throw new Error(`${what}: not within ${seconds} s`);
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
const picture = (name) => page.screenshot({ path: `${folder}/${name}.png` });

// A cell as the page shows it.
const cells = page.locator('.jp-Notebook .jp-Cell');
const codeCells = page.locator('.jp-Notebook .jp-CodeCell');
const prompt = (cell) => cell.locator('.jp-InputPrompt').innerText();
const outputs = (cell) => cell.locator('.jp-OutputArea-output');
const figures = (cell) => cell.locator('.jp-OutputArea-output svg, .jp-OutputArea-output img');
const isDone = async (cell) => /^\[\d+\]:$/.test(await prompt(cell));
const menu = async (name, item) => {
  await page.locator('.lm-MenuBar-itemLabel', { hasText: new RegExp(`^${name}$`) }).click();
  await page.locator('.lm-Menu-itemLabel', { hasText: new RegExp(`^${item}$`) }).click();
};
const write = async (text) => {
  await page.keyboard.press('Escape');
  await page.keyboard.press('b');
  await page.keyboard.press('Enter');
  await page.keyboard.insertText(text);
  return codeCells.last();
};
const run = () => page.keyboard.press('Control+Enter');

try {
  await until('the server answers', () => fetch(url).then((answer) => answer.ok, () => false), 120);
  await page.goto(url);
  await page.locator('.jp-NotebookPanel').waitFor({ timeout: 60_000 });
  await until('the notebook opens with our kernel', async () =>
    (await page.locator('.jp-KernelName').innerText()).includes('Rust (rebit)')
    && (await page.locator('#jp-main-statusbar').innerText()).includes('Rust (rebit) | Idle'), 120);
  check('the notebook opens with our kernel', true);

  // Run all, and watch the training.
  await menu('Run', 'Run All Cells');
  const training = codeCells.filter({ hasText: 'train_with(&base' }).first();
  await until('a curve appears', async () => (await figures(training).count()) > 0, 150);
  await training.scrollIntoViewIfNeeded();
  const look = async () => ({ prompt: await prompt(training), figure: await figures(training).last().evaluate((e) => e.src ?? e.outerHTML) });
  const first = await look();
  await picture('1-curve-begins');
  const later = await until('the curve changes', async () => {
    const now = await look();
    return now.figure !== first.figure && now;
  }, 90);
  await picture('2-curve-grows');
  check('the curve changes while its cell runs', later.prompt === '[*]:', later.prompt);
  const total = await codeCells.count();
  const last = codeCells.nth(total - 1);
  await until('all cells have run', () => isDone(last), 420);
  const broken = await page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"], .jp-RenderedText[data-mime-type="application/vnd.jupyter.error"]').count();
  check('run all ends without an error', broken === 0, `${broken} errors`);
  const drawn = await page.locator('.jp-Notebook .jp-OutputArea-output svg, .jp-Notebook .jp-OutputArea-output img').evaluateAll(
    (all) => all.filter((e) => e.getBoundingClientRect().width > 200 && (e.tagName !== 'IMG' || e.naturalWidth > 0)).length);
  check('the figures are there', drawn >= 6, `${drawn} figures`);
  const prompts = await Promise.all([...Array(total).keys()].map((i) => prompt(codeCells.nth(i))));
  check('cells are counted from 1', prompts.every((p, i) => p === `[${i + 1}]:`), prompts.join(' '));
  await codeCells.nth(1).scrollIntoViewIfNeeded();
  await picture('3-figures');
  await last.scrollIntoViewIfNeeded();
  await picture('4-figures-end');

  // Interrupt a training and go on with its network.
  await last.click();
  const stopped = await write(
    'let again = pretrained_resnet20()?;\n' +
    'let before: f32 = read(&again.parameter("fc.bias")?.value)[0];\n');
  await run();
  await until('the network is there', () => isDone(stopped));
  const interrupted = await write(
    'train(&again, &train_set, &test_set, &TrainConfig { epochs: 1000, label: "to be stopped".into(), ..TrainConfig::default() });\n');
  await run();
  await until('the second training shows its bar', async () => (await outputs(interrupted).count()) > 0, 90);
  await page.waitForTimeout(3000);
  const asked = Date.now();
  await page.locator('button[data-command="notebook:interrupt-kernel"], jp-button[data-command="notebook:interrupt-kernel"]').first().click();
  await until('the interrupted cell ends', () => isDone(interrupted), 30);
  const seconds = (Date.now() - asked) / 1000;
  const said = await interrupted.innerText();
  check('the interrupt ends the training and says so', /interrupted: the cell/.test(said) && !said.includes('panic'), said.slice(-300));
  check('it ends long before the kernel would be impatient', seconds < 4, `${seconds} s`);
  await picture('5-interrupted');
  const after = await write('println!("changed: {}", read(&again.parameter("fc.bias")?.value)[0] != before)');
  await run();
  await until('the next cell has run', () => isDone(after));
  const answer = await outputs(after).allInnerTexts();
  check('the variables of the session are still there', answer.join('').includes('changed: true'), answer.join('|'));
  await picture('6-variables-kept');

  // Tab completes.
  await write('let settled = train_s');
  await page.keyboard.press('Tab');
  await page.locator('.jp-Completer').waitFor({ timeout: 60_000 }).catch(() => {});
  const offered = await page.locator('.jp-Completer').innerText().catch(() => '');
  const typed = await codeCells.last().locator('.cm-content').innerText();
  check('Tab completes', offered.includes('train_set') || typed.includes('train_set'), `${offered} / ${typed}`);
  await picture('7-tab');
  await page.keyboard.press('Escape');
  const several = await write('plot::');
  await page.keyboard.press('Tab');
  await page.locator('.jp-Completer').waitFor({ timeout: 60_000 }).catch(() => {});
  const names = await page.locator('.jp-Completer').innerText().catch(() => '');
  check('Tab offers the names of a module', names.includes('lines') && names.includes('histogram'), names.slice(0, 300));
  await picture('8-tab-module');
  await page.keyboard.press('Escape');

  // Shift-Tab helps.
  await write('randn');
  await page.keyboard.press('Shift+Tab');
  await page.locator('.jp-Tooltip').waitFor({ timeout: 60_000 });
  const help = await until('help has text', async () => page.locator('.jp-Tooltip').innerText());
  check('Shift-Tab shows signature and documentation', help.includes('fn randn') && /normal/i.test(help), help);
  await picture('9-shift-tab');
} catch (error) {
  failures.push(error.message);
  console.log(`FAILED ${error.stack}`);
  await picture('failure').catch(() => {});
} finally {
  await browser.close();
}

console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
