"""The same work twice: in a session of ours, and in generic dfdx 0.13 in the stock kernel.

Types of variables are written out for the stock kernel: without the sources of the standard library it cannot
infer them.
"""

LOAD = ':dep dfdx = "0.13"\nuse dfdx::{optim::*, prelude::*};\n'
CACHE = ":cache 2000\n"

ADD = "1 + 1"

# Each prints a number of the result, so that nothing is left out as unused.
FIRST_OURS = 'let first = randn(64, 64, &mut rng(0)); println!("value {}", read(&first).len());'
FIRST_THEIRS = (
    "let first: Tensor<Rank2<64, 64>, f32, Cpu> = Cpu::default().sample_normal(); "
    'println!("value {}", first.as_vec().len());'
)

TENSOR_OURS = (
    "let a = randn(64, 64, &mut rng(0));\n"
    'println!("product {}", read(&matmul(a.clone(), a.clone()))[0]);'
)
TENSOR_THEIRS = (
    "let a: Tensor<Rank2<64, 64>, f32, Cpu> = Cpu::default().sample_normal();\n"
    'println!("product {}", a.clone().matmul(a.clone()).as_vec()[0]);'
)

TRAIN_OURS = """
{
    let mut builder = NetBuilder::new(64, 1, 1, rng(0));
    let hidden = builder.linear("hidden", builder.input(), 128)?;
    let hidden = builder.activation("relu", hidden, Activation::Relu)?;
    let output = builder.linear("output", hidden, 10)?;
    let net = builder.build(output)?;
    let mut optimiser = Sgd::new(0.1).momentum(0.9).decay(1e-4).over(&net)?;
    let x = images(32, 64, 1, 1, &mut rng(1));
    let labels: [usize; 32] = std::array::from_fn(|i| i % 10);
    for step in 0..10 {
        let loss = cross_entropy(net.run(&x, Mode::Train)?.logits()?, &labels);
        println!("step {step}: {}", read(&loss)[0]);
        optimiser.step(&mut loss.backward())?;
    }
}
"""

TRAIN_THEIRS = """
type Mlp = ((Linear<64, 128>, ReLU), Linear<128, 10>);
{
    let dev = Cpu::default();
    let mut model = dev.build_module::<Mlp, f32>();
    let mut grads = model.alloc_grads();
    let mut optimiser = Sgd::new(&model, SgdConfig::default());
    let x: Tensor<Rank2<32, 64>, f32, Cpu> = dev.sample_normal();
    let mut labels = [[0.0f32; 10]; 32];
    for (i, row) in labels.iter_mut().enumerate() {
        row[i % 10] = 1.0;
    }
    let labels = dev.tensor(labels);
    for step in 0..10 {
        let logits = model.forward_mut(x.trace(grads));
        let loss = cross_entropy_with_logits_loss(logits, labels.clone());
        println!("step {step}: {}", loss.array());
        grads = loss.backward();
        optimiser.update(&mut model, &grads).unwrap();
        model.zero_grads(&mut grads);
    }
}
"""

LINES = 'for i in 0..20_000 { println!("line {i}"); }'

# Kinds of cells whose steps are told apart.
KINDS = (
    ("`1 + 1`", ADD),
    ("prints", 'println!("hello");'),
    ("a tensor", TENSOR_OURS),
    ("`vec![1, 2, 3]`", "let v = vec![1, 2, 3];"),
    ("ten steps", TRAIN_OURS),
)
