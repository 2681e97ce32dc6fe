//! `rebit`: runs notebooks, serves Jupyter, and is a terminal for cells.

fn main() {
    rebit_kernel::workshop::shim::roles();
    rebit_kernel::supervisor::roles();
    let mut total = std::time::Instant::now();
    let prepared =
        rebit_kernel::workshop::prepare(&mut |p| eprintln!("{} / {} {}", p.done, p.total, p.name))
            .unwrap();
    eprintln!("prepared {:?}", total.elapsed());
    total = std::time::Instant::now();
    let mut session = rebit_kernel::session::Session::start(&prepared, Default::default()).unwrap();
    eprintln!("started {:?}", total.elapsed());
    for line in std::io::read_to_string(std::io::stdin())
        .unwrap()
        .split("\n---\n")
    {
        let t = std::time::Instant::now();
        let reply = session.execute(line, &mut |o| println!("   {:?} {o:?}", t.elapsed()));
        println!("{line:?} -> {:?}", t.elapsed());
        match reply {
            rebit_kernel::output::Reply::Error(f) => println!(
                "{} {} {:?}\n{}",
                f.ename,
                f.evalue,
                f.lost,
                f.traceback.join("\n")
            ),
            r => println!("{r:?}"),
        }
    }
}
