"""What somebody waits for who writes a method of their own in cells, and ours beside an earlier build of ours."""

import json
import os
import statistics

import cells
from alone import beside, limit

NOTEBOOK = "tests/notebooks/own-paper.ipynb"

NETWORK = """
    let mut builder = NetBuilder::new(1, 8, 8, rng(0));
    let flat = builder.flatten(builder.input())?;
    let hidden = builder.linear("hidden", flat, 128)?;
    let hidden = builder.activation("relu", hidden, Activation::Relu)?;
    let output = builder.linear("output", hidden, 10)?;
    let net = builder.build(output)?;
"""

OWN_LOOP = f"""
{{{NETWORK}
    let mut optimiser = Sgd::new(0.1).momentum(0.9).decay(1e-4).over(&net)?;
    let x = images(32, 1, 8, 8, &mut rng(1));
    let wanted = randn(32, 10, &mut rng(2));
    for step in 0..10 {{
        let mut out = net.run(&x, Mode::Train)?;
        let loss = (out.matrix("output")? - wanted.clone()).square().mean();
        println!("step {{step}}: {{}}", read(&loss)[0]);
        optimiser.step(&mut loss.backward())?;
    }}
}}
"""

THROUGH_TRAIN = f"""
{{{NETWORK}
    let data = Dataset {{
        name: "noise".into(),
        images: (0..320 * 64).map(|i| (i * 7919 % 251) as u8).collect(),
        labels: (0..320).map(|i| (i % 10) as u8).collect(),
        classes: (0..10).map(|i| i.to_string()).collect(),
        channels: 1,
        height: 8,
        width: 8,
    }};
    let config = TrainConfig {{ epochs: 1, batch_size: 32, show: false, ..TrainConfig::default() }};
    let history = train(&net, &data, &data.subset(0..0), &config);
    println!("step 9: {{:?}}", history.epochs[0].loss);
}}
"""


def slowest_cell(start, root, folder, samples):
    """Compiling the slowest cell of the notebook that writes a paper in cells; a new kernel for each sample."""
    with open(os.path.join(root, NOTEBOOK)) as file:
        notebook = json.load(file)
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    compiled = [[] for _ in sources]
    for sample in range(samples):
        file = os.path.join(folder, f"own-{sample}.jsonl")
        kernel = start({"REBIT_TIMES": file, "REBIT_BUDGET": "quick"})
        try:
            for times, code in zip(compiled, sources):
                kernel.run(code)
                with open(file) as lines:
                    times.append(json.loads(lines.readlines()[-1])["steps"].get("compile", 0) / 1e3)
        finally:
            kernel.close()
    worst = max(range(len(sources)), key=lambda i: statistics.median(compiled[i]))
    return limit(f"compiling the slowest cell of own-paper (cell {worst + 1})", 0.6, compiled[worst])


def own_loop(kernel, samples):
    """A loop of one's own beside the library's, each with compiling and running."""
    times = {OWN_LOOP: [], THROUGH_TRAIN: []}
    for code in times:
        kernel.run(code, "step 9")
    for _ in range(samples):
        for code, walls in times.items():
            walls.append(kernel.run(code, "step 9")[0])
    row = beside("a training loop of one's own, own loss, 10 steps", "train", 1.5, *times.values())
    return [row, limit("the same, in seconds", 0.5, times[OWN_LOOP])]


def against(ours, before, samples):
    """Cells of both builds in turn."""
    kernels = (ours, before)
    rows = []
    for work, code, expect in (
        ("1 + 1", cells.ADD, "2"),
        ("make a tensor, multiply, print", cells.TENSOR_OURS, "product"),
        ("20,000 printed lines", cells.LINES, "line 19999"),
        ("a vector kept and looked at", "let kept: Vec<u32> = (0..1000).collect(); kept.len()", "1000"),
    ):
        walls = ([], [])
        for kernel in kernels:
            kernel.run(code, expect)
        for _ in range(samples):
            for kernel, wall in zip(kernels, walls):
                wall.append(kernel.run(code, expect)[0])
        rows.append(beside(work, "the build before", 1.02, *walls))
    return rows
