"""What people of the region are called, by the language of their families."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tongue:
    """Names that go together, the language they come from (BCP 47), and how common they are in the region."""

    language: str
    weight: int
    female: tuple[str, ...]
    male: tuple[str, ...]
    family: tuple[str, ...]


def _tongue(language: str, weight: int, female: str, male: str, family: str) -> Tongue:
    given, other, last = (tuple(names.split("|")) for names in (female, male, family))
    return Tongue(language, weight, given, other, last)


TONGUES = (
    _tongue(
        "en", 30,
        "Abigail|Alice|Charlotte|Denise|Eleanor|Grace|Hannah|Imani|Joan|Keisha|Laura|Megan|Naomi|Olivia|Ruth|Tamika",
        "Aaron|Benjamin|Calvin|Daniel|DeShawn|Ethan|Frank|George|Henry|Isaiah|Jack|Kevin|Marcus|Nathan|Oliver|Thomas",
        "Adams|Baker|Brooks|Carter|Coleman|Davies|Edwards|Foster|Hughes|Jackson|Kelly|Lewis|Mitchell|Murphy|O'Brien|"
        "Parker|Reed|Robinson|Sullivan|Turner|Walker|Washington|Wright|Young",
    ),
    _tongue(
        "es", 18,
        "Ana Sofía|Beatriz|Camila|Elena|Guadalupe|Inés|Lucía|Marisol|Paloma|Rocío|Valentina|Ximena",
        "Alejandro|Andrés|Diego|Emilio|Héctor|Iván|Joaquín|José|Luis|Mateo|Ramón|Sebastián",
        "Álvarez|Castañeda|Domínguez|Espinoza|Gómez|Hernández|Ibáñez|Jiménez|López|Muñoz|Núñez|Peña|Quiñones|"
        "Rodríguez|Salazar|Vázquez",
    ),
    _tongue(
        "zh", 6, "Fang|Hui|Jing|Lan|Mei|Xiaoyan|Yan|Ying", "Bo|Chao|Feng|Hao|Jun|Ming|Wei|Zhiyuan",
        "Chen|Gao|Huang|Liu|Lü|Sun|Wang|Wu|Xu|Zhang|Zhao|Zhou",
    ),
    _tongue(
        "vi", 4, "Hạnh|Hương|Lan Anh|Linh|Mai|Ngọc|Thảo|Thu Hà", "Bảo|Đức|Hiếu|Khánh|Minh|Phúc|Quang|Tuấn",
        "Bùi|Đặng|Đỗ|Hoàng|Huỳnh|Lê|Nguyễn|Phạm|Trần|Vũ",
    ),
    _tongue(
        "pl", 4, "Agnieszka|Bożena|Elżbieta|Grażyna|Joanna|Małgorzata|Zofia",
        "Grzegorz|Jakub|Krzysztof|Łukasz|Michał|Paweł|Tomasz",
        "Dąbrowicz|Jabłoń|Kamiński|Król|Mazur|Nowak|Pająk|Sokół|Wróbel|Zając",
    ),
    _tongue(
        "so", 3, "Amina|Fadumo|Hodan|Ifrah|Khadra|Sahra", "Abdi|Bashir|Guled|Liban|Mahad|Yusuf",
        "Abdullahi|Aden|Duale|Farah|Hersi|Jama|Mohamud|Warsame",
    ),
    _tongue(
        "hi", 5, "Aditi|Ananya|Deepa|Kavita|Meera|Neha|Priya|Sunita",
        "Amit|Arjun|Karan|Nikhil|Rahul|Rohan|Sanjay|Vikram",
        "Agarwal|Bhatt|Chaudhary|Desai|Gupta|Iyer|Joshi|Kapoor|Mehta|Patel|Rao|Sharma",
    ),
    _tongue(
        "ar", 4, "Amal|Dalal|Hanan|Layla|Noor|Rania|Salma|Yasmin", "Bilal|Fadi|Hassan|Khalid|Nabil|Omar|Samir|Tariq",
        "Abboud|al-Masri|Darwish|Farouk|Haddad|Khalil|Mansour|Nasser|Saleh|Zaydan",
    ),
    _tongue(
        "ko", 4, "Eun-ji|Hye-jin|Ji-woo|Min-seo|Soo-yeon|Yu-na", "Dong-hyun|Hyun-woo|Jae-won|Min-jun|Seung-ho|Tae-yang",
        "Ahn|Cho|Choi|Han|Jung|Kang|Kim|Lim|Park|Yoon",
    ),
    _tongue(
        "pt", 4, "Beatriz|Conceição|Fernanda|Inês|Letícia|Luísa|Marlene",
        "Caio|Fábio|João|Lourenço|Mário|Otávio|Thiago",
        "Araújo|Assunção|Brandão|Carvalho|Gonçalves|Magalhães|Moura|Simões|Teixeira|Vasconcelos",
    ),
    _tongue(
        "uk", 3, "Dariia|Iryna|Kateryna|Nadiia|Oksana|Solomiia", "Andrii|Bohdan|Maksym|Oleh|Serhii|Taras",
        "Bondarenko|Hrytsenko|Kovalenko|Lysenko|Moroz|Shevchuk|Tkachenko|Zinchuk",
    ),
    _tongue(
        "fr", 3, "Amélie|Chloé|Élodie|Françoise|Hélène|Zoé", "André|Benoît|Étienne|François|Jérôme|Loïc",
        "Beauséjour|Côté|Désir|Fontaine|Lefèvre|Noël|Pétion|Toussaint",
    ),
    _tongue(
        "sv", 3, "Åsa|Astrid|Britt-Marie|Elsa|Frida|Märta", "Anders|Björn|Göran|Jörgen|Lars|Sören",
        "Ångström|Bergström|Dahl|Hägg|Lindqvist|Nyström|Sjöberg|Åkesson",
    ),
    _tongue(
        "yo", 3, "Adéọlá|Bísí|Folákẹ́|Ìfẹ́|Yétúndé|Tèmi", "Adé|Báyọ̀|Fẹ́mi|Kọ́lá|Ṣeun|Túndé",
        "Adébayo|Akíntọ́lá|Balógun|Ògúnlẹ́yẹ|Ọlátúnjí|Owólabí|Ṣóyínká|Adéyẹmí",
    ),
    _tongue(
        "hy", 2, "Anahit|Gohar|Lusine|Nare|Siranush", "Aram|Davit|Hayk|Narek|Tigran",
        "Avakyan|Grigoryan|Hakobyan|Manukyan|Petrosyan|Sarkisyan",
    ),
    _tongue(
        "de", 4, "Anneliese|Bärbel|Greta|Jutta|Käthe|Ursula", "Dieter|Götz|Jürgen|Klaus|Matthias|Rüdiger",
        "Böhm|Fischer|Großmann|Köhler|Krüger|Müller|Schäfer|Weiß",
    ),
)  # fmt: skip

# Names whose letters have no ASCII base of their own, for e-mail addresses.
ASCII = str.maketrans({"đ": "d", "ł": "l", "ø": "o", "ß": "ss", "'": "", " ": "-"})
